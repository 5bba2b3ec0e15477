from pathlib import Path

import pytest

from steps.clean import CleanConfig
from steps.core.documents import Item
from steps.curation.explain import Known, Told, as_row, explain, kept
from tests.builders import build_document, build_texts, build_workspace, prose, run_data_stages

RULES = {"repair": [], "quality": [{"method": "basic", "min_characters": 60}, {"method": "repeated-lines"}]}


def told(texts: dict[str, str], known: Known | None = None) -> dict[str, dict[str, Told]]:
    config = CleanConfig.model_validate(RULES)
    documents = [build_document(key, text) for key, text in texts.items()]
    found = explain(config, config.decontaminate, config.dedup, documents, known or Known())
    return {key: {one.rule: one for one in own} for key, own in zip(texts, found, strict=True)}


def test_a_rule_tells_what_it_measured_and_the_limit() -> None:
    one = told({"a": "far too short"})["a"]["quality/basic"]
    assert (one.verdict, one.reason, one.found, one.limit) == ("drop", "too-short", 13, 60)


def test_rules_after_the_one_that_drops_are_asked_too() -> None:
    own = told({"a": "short, write to ada@example.org"})["a"]
    assert own["quality/basic"].verdict == "drop"
    assert (own["privacy/patterns"].verdict, own["privacy/patterns"].reason) == ("edit", "email at 16 to 31")
    assert kept(list(own.values())) == "too-short"


def test_a_rule_that_has_learned_nothing_says_so_and_drops_nothing() -> None:
    one = told({"a": prose(1)})["a"]["quality/repeated-lines"]
    assert one.verdict == "unknown"
    assert "make clean for this task first" in one.reason


def test_what_a_rule_learned_is_used(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    notice = "This notice stands on every page of ours, at its foot."
    pages = {f"k{n}": f"{prose(n)}\n{notice}" for n in range(12)}
    config = CleanConfig.model_validate(RULES)
    run_data_stages(workspace, {"topics": build_texts(workspace, pages)}, cleaning=config)
    known = Known(learned=tmp_path / "data/first/clean/learned/topics")
    one = told({"new": f"{prose(50)}\n{notice}"}, known)["new"]["quality/repeated-lines"]
    assert (one.verdict, one.reason) == ("edit", f"{len(notice) + 1} characters out")
    assert one.excerpt
    assert one.excerpt[1] == notice


def test_hold_outs_and_twins_in_the_file_and_in_the_index_are_named(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    data = run_data_stages(workspace, {"topics": build_texts(workspace, {"old": prose(1, 200)})})
    item = Item(id="i1", task="topics", document="held", text=prose(7, 30))
    known = Known(items=[item], index=[workspace.at(segment.path) for segment in data.index.segments])
    texts = {
        "leak": f"{prose(8, 40)} {item.text} {prose(9, 40)}",
        "near-old": prose(1, 200) + " more",
        "same": prose(1, 200),
        "first": prose(2, 200),
        "second": prose(2, 200) + " more",
    }
    found = told(texts, known)
    assert (found["leak"]["decontaminate"].reason, found["leak"]["decontaminate"].of) == ("contains-holdout", "i1")
    assert found["near-old"]["dedup"].of == "old"
    assert (found["same"]["known"].reason, found["same"]["known"].of) == ("duplicate", "old")
    assert found["first"]["dedup"].verdict == "pass"
    assert found["second"]["dedup"].of == "first"


@pytest.mark.parametrize("absent", ["decontaminate", "known"])
def test_where_there_is_nothing_to_compare_with_it_says_so(absent: str) -> None:
    assert told({"a": prose(1)})["a"][absent].verdict == "unknown"


def test_nothing_private_is_told() -> None:
    own = told({"a": "12 34 ada@example.org 56 78 90 +++"})["a"]
    rows = [as_row(one) for one in own.values()]
    assert "ada@" not in str(rows)
    assert "[email]" in str(rows)
    assert as_row(Told("dedup", "drop", "near-duplicate", of="mailto:ada@example.org"))["of"] == "mailto:[email]"
