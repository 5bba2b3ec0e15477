"""Arbitrary texts: rules raise nothing, answer for each text, and take bounded time."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from steps.core.documents import Document
from steps.core.method import load_method, method_names
from steps.core.texts import Texts
from steps.methods.quality import Quality
from tests.hostile import ends_soon

EXTRA = {"presidio": "presidio_analyzer"}  # methods that want what only an extra installs
QUICK = settings(max_examples=30, deadline=None, derandomize=True, database=None)
DEEP = settings(QUICK, max_examples=1000)
NOWHERE = Path("no folder: what learns is left out")
FRAGMENTS = [
    *["\0", "\ufeff", "\u0301" * 9, "\u202e", "\U0010ffff", "\r", "\x85", "\u2028", "a\tb", "ﬃ", "İ", "ß", "Ã©", "â€™"],
    *[
        "def f(:\n",
        "```python\nx = (\n```\n",
        "# " * 9,
        "...",
        "…\n",
        "\n\n\n",
        "- item\n",
        "{",
        "lorem ipsum",
        "javascript",
    ],
    *["a@b.co ", "1.2.3.4 ", "4111 1111 1111 1111 ", "DE89 3704 0044 0532 0130 00 ", "+49 30 123456 ", "[1]", "<div>"],
    *[
        "-----BEGIN PRIVATE KEY-----\n",
        "AKIAIOSFODNN7EXAMPLE ",
        "中文。",
        "שלום ",
        "The heron stands still. ",
        "the " * 30,
    ],
]
CHARACTERS = st.characters(exclude_categories=["Cs"])  # half of a surrogate pair: readers let none pass
TEXTS = st.lists(
    st.lists(st.sampled_from(FRAGMENTS) | st.text(CHARACTERS, max_size=20), max_size=25).map("".join),
    min_size=1,
    max_size=4,
)


def usable(slot: str) -> list[str]:
    """The methods that need no knob, learn nothing, and have what they need."""
    found = []
    for name in method_names(slot):
        if name in EXTRA and find_spec(EXTRA[name]) is None:
            continue
        method: Any = load_method(slot, name)
        try:
            method()
        except ValidationError:
            continue
        if slot != "quality" or method.learn is Quality.learn:
            found.append(name)
    return found


RULES = [(slot, name) for slot in ("repair", "quality", "privacy") for name in usable(slot)]


def document(text: str) -> Document:
    facts = {"task": "t", "source": "s", "language": "en", "time": "2026-01-01", "licence": "MIT", "batch": "b"}
    return Document(key=text[:20], content_hash="0" * 64, text=text, **facts)


def applied(slot: str, name: str, texts: list[str]) -> list[Any]:
    """What a rule says of texts, once it holds what any rule must."""
    rule: Any = load_method(slot, name)()
    if slot == "repair":
        said = rule.repair([document(text) for text in texts])
        for one in said:
            one.text.encode()
    elif slot == "quality":
        said = rule.judge(Texts(texts), NOWHERE)
        for text, one in zip(texts, said, strict=True):
            begin, end = one.span or (0, 0)
            assert 0 <= begin <= end <= len(text)
            (one.text or "").encode()
    else:
        said = rule.find(texts)
        for text, found in zip(texts, said, strict=True):
            places = [place for match in found for place in (match.begin, match.end)]
            assert places == sorted(places)
            assert all(0 <= place <= len(text) for place in places)
    assert len(said) == len(texts)
    return list(said)


@pytest.mark.parametrize(("slot", "name"), RULES)
def test_rules_answer_for_any_text(slot: str, name: str) -> None:
    @QUICK
    @given(TEXTS)
    def holds(texts: list[str]) -> None:
        applied(slot, name, texts)

    holds()


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(("slot", "name"), RULES)
def test_rules_answer_for_any_text_alike_alone_and_in_a_batch(slot: str, name: str) -> None:
    @DEEP
    @given(TEXTS)
    def holds(texts: list[str]) -> None:
        assert applied(slot, name, texts) == [one for text in texts for one in applied(slot, name, [text])]

    holds()


PATTERNS = {  # each is repeated to so many characters
    "one letter": "a",
    "spaces": " ",
    "line breaks": "\n",
    "NULs": "\0",
    "combining marks": "e\u0301\u0323",
    "words": "word ",
    "one word a line": "word\n",
    "at signs": "a@",
    "addresses without an end": "a.b-c_d+",
    "an address without a domain": "@a.",
    "digits": "1",
    "digits and spaces": "1 2-3.",
    "dots and digits": "1.1.",
    "colons": "a:",
    "letters and digits": "DE89",
    "open brackets": "[",
    "open tags": "<a ",
    "open parentheses": "f(",
    "backticks": "```\n",
    "begin marks": "-----BEGIN ",
    "ellipses": "...",
    "quotes": "'\"",
    "mojibake": "Ã¢â‚¬â„¢",
    "ampersands": "&amp;",
    "paragraphs": "a\n\n",
    "keys": "sk-ABCdef0123456789",
    "surrogate look-alikes": "\ufffd\U0001f600",
}


@pytest.mark.parametrize(("slot", "name"), RULES)
def test_no_pattern_of_20_kilobytes_breaks_a_rule(slot: str, name: str) -> None:
    applied(slot, name, [(pattern * 20_000)[:20_000] for pattern in PATTERNS.values()])


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(("slot", "name"), RULES)
def test_no_pattern_of_a_megabyte_takes_a_rule_long(slot: str, name: str) -> None:
    applied(slot, name, ["what is compiled at the first call is compiled now"])
    slow = [
        pattern
        for pattern, part in PATTERNS.items()
        if not ends_soon(lambda part=part: applied(slot, name, [(part * 2**20)[: 2**20]]))
    ]
    assert slow == [], f"{slot}/{name}: these patterns, 1 MB of each, take it long"
