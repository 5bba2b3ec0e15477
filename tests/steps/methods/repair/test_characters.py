import unicodedata
from typing import Any

import pytest

from steps.methods.repair import Repaired
from steps.methods.repair.characters import EVERY, Characters
from tests.hostile import ends_soon
from tests.steps.methods.repair.test_mojibake import document


def repaired(text: str, **knobs: Any) -> Repaired:
    return Characters(**knobs).repair([document(text)])[0]


@pytest.mark.parametrize(
    ("text", "wanted", "kind", "count"),
    [
        ("a\r\nb\rc\n", "a\nb\nc\n", "line-ending", 2),
        ("page\fpage\u2028line\x85line", "page\npage\nline\nline", "line-ending", 3),
        ("a\0b\x07c\x9fd\ufffe", "abcd", "control", 4),
        ("\x1b[1;31mred\x1b[0m", "red", "control", 2),
        ("hid\U000e0041den", "hidden", "control", 1),
        ("\ufeffzero\u200bwidth\u2060", "zerowidth", "zero-width", 3),
        ("pass\u200dword", "password", "zero-width", 1),
        ("\u202eevil\u202c", "evil", "bidi", 2),
        ("hy\xadphen", "hyphen", "soft-hyphen", 1),
        ("cafe\u0301 noir", "café noir", "normalization", 1),
    ],
)
def test_each_change_is_made_and_counted(text: str, wanted: str, kind: str, count: int) -> None:
    assert repaired(text) == Repaired(wanted, changes={kind: count})


@pytest.mark.parametrize("text", ["tab\tand\nline", "naïve “quotes” – é", "می‌خواهم", "👩‍🔬", "ﬁnd ½ ①", "日本語"])
def test_what_has_a_meaning_stays(text: str) -> None:
    assert repaired(text) == Repaired(text)


def test_what_is_not_asked_for_stays() -> None:
    text = "a\r\n\u200bb\xad\0e\u0301"
    assert repaired(text, kinds=("control",), normalization="none") == Repaired(
        text.replace("\0", ""), changes={"control": 1}
    )
    assert repaired("ﬁnd ½", normalization="NFKC").text == "find 1⁄2"


def test_a_repaired_text_stays_as_it_is() -> None:
    text = "".join(
        map(chr, [*range(0x3000), *range(0xD7F0, 0xE010), *range(0xFDC0, 0x10010), *range(0xE0000, 0xE0080)])
    )
    once = repaired(text).text
    assert repaired(once) == Repaired(once)
    assert unicodedata.is_normalized("NFC", once)
    once.encode()


def test_counts_are_told_by_kind() -> None:
    assert set(repaired("\r\0\u200b\u202e\xad").changes) == set(EVERY)


@pytest.mark.parametrize(
    "unit", ["\r", "\x1b[", "\x1b[1;1;1;1;1;1;1;1;1;", "e\u0301", "\u200d", "a\u0301\u0316", "\u0301"]
)
def test_text_that_was_made_to_be_slow_costs_its_length_and_not_its_square(unit: str) -> None:
    assert ends_soon(lambda: repaired(unit * (1_000_000 // len(unit))))
