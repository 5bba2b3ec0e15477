from steps.curation.chain import Chain, Fate
from steps.curation.excerpts import dropped_row, explained
from steps.methods.quality import Judgement
from tests.builders import build_document

CHAIN = Chain.model_validate({"quality": []})


def excerpt(text: str, span: tuple[int, int] | None) -> list[str]:
    fate = Fate(build_document("a", text), "quality/basic", Judgement("bad", span=span))
    (row,) = explained(CHAIN, [fate])
    found: list[str] = row["excerpt"]
    return found


def test_the_offending_part_stands_between_what_is_around_it() -> None:
    assert excerpt("before BAD after", (7, 10)) == ["before ", "BAD", " after"]
    assert excerpt("long " * 200 + "BAD" + " tail" * 200, (1000, 1003))[1] == "BAD"
    assert excerpt("only a beginning", None) == ["", "", "only a beginning"]


def test_private_data_is_masked_even_where_a_cut_goes_through_it() -> None:
    text = "mail jane.roe@example.org now"
    for span in (None, (5, 25), (10, 14), (0, 8), (20, 29)):
        shown = "".join(excerpt(text, span))
        assert "jane" not in shown
        assert "example" not in shown
        assert "[email]" in shown


def test_a_row_says_which_document_and_why() -> None:
    row = {"key": "a", "content_hash": "h", "batch": "b", "text": "never shown"}
    found = dropped_row(row, "duplicate", "z")
    assert found == {"key": "a", "content_hash": "h", "batch": "b", "reason": "duplicate", "of": "z"}
