import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from steps.core.documents import Document, content_hash
from steps.methods.repair import Repaired
from steps.methods.repair.mojibake import Mojibake
from tests.hostile import ends_soon

CORPUS = Path(__file__).parents[5] / "shared/corpora/dirty_mojibake.jsonl.gz"


def document(text: str) -> Document:
    facts = {"task": "t", "source": "s", "language": "en", "time": "2020-01-01", "licence": "MIT", "batch": "b"}
    return Document(key="k", content_hash=content_hash(text.encode("utf-8", "replace").decode()), text=text, **facts)


def repaired(text: str, **knobs: Any) -> Repaired:
    return Mojibake(**knobs).repair([document(text)])[0]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "mac-roman"])
def test_what_was_read_in_the_wrong_encoding_is_read_again(encoding: str) -> None:
    right = "Une façon d'être où l'œuvre « déjà » naît ; größer, señor"
    wrong = right.encode().decode(encoding)
    assert repaired(f"plain\n{wrong}\nplain") == Repaired(f"plain\n{right}\nplain", changes={"mojibake": 1})


def test_twice_wrong_is_mended_too() -> None:
    assert repaired("dÃƒÂ©jÃƒÂ\u00a0 vu").text == "déjà vu"


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "naïve café",
        "“Quoted” – it’s…",
        "Ünïcödé",
        "日本語のテキスト",
        "à la carte",
        "AT&T &",
        "Â A\nÃ A",
        "x < y &amp; z",
    ],
)
def test_what_is_right_stays_as_it_is(text: str) -> None:
    assert repaired(text) == Repaired(text)


def test_entities_are_decoded_where_there_are_no_tags() -> None:
    assert repaired("Nat&#252;rlich &amp; gern &nope;") == Repaired("Natürlich & gern &nope;", changes={"entities": 2})
    assert repaired("a&nbsp;b").text == "a\u00a0b"
    assert repaired("<b>Nat&#252;rlich</b>").changes == {}
    assert repaired("Nat&#252;rlich", entities="never").changes == {}
    assert repaired("&#0; &#27; &#xd800; &notanentity;").text == "&#0; &#27; &#xd800; &notanentity;"


def test_what_is_lost_can_be_a_reason_to_drop() -> None:
    text = "distribuci\ufffdn"
    assert repaired(text) == Repaired(text)
    assert repaired(text, max_lost_share=0.05).reason == "lost-characters"
    assert repaired(text, max_lost_share=1 / 12).reason == ""
    assert repaired("", max_lost_share=0).reason == ""


def test_a_mended_text_stays_as_it_is() -> None:
    once = repaired("Ã©tÃ© &amp;lt; dÃ©jÃ ").text
    assert Mojibake(entities="never").repair([document(once)])[0].text == once


@pytest.mark.parametrize("unit", ["Ã", "Ã©", "Ã ", "â€", "\x80", "&", "&#", "é“"])
def test_text_that_was_made_to_be_slow_costs_its_length_and_not_its_square(unit: str) -> None:
    assert ends_soon(lambda: repaired(unit * (1_000_000 // len(unit))))


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpora are not beside the checkout")
def test_on_real_paragraphs_all_that_is_not_lost_is_restored_and_no_clean_one_is_touched() -> None:
    rows = [json.loads(line) for line in gzip.decompress(CORPUS.read_bytes()).splitlines()]
    found = Mojibake().repair([document(row["text"]) for row in rows])
    right = [row["how"] for row, one in zip(rows, found, strict=True) if one.text == row["reference"]]
    assert len(right) == sum(row["how"] != "cp1252-as-utf8-lossy" for row in rows) == 540
    assert all(one.changes == {} for row, one in zip(rows, found, strict=True) if row["how"] == "none")
