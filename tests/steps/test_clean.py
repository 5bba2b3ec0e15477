from pathlib import Path
from typing import Any

import pytest

from steps.clean import CleanConfig, clean, conservation
from steps.core.artifacts import Buffer, HoldoutState, Index, Kept, TaskFacts
from steps.core.index import OpenIndex
from steps.core.state import Entry
from steps.core.workspace import Workspace
from steps.split import SplitConfig, side_of, split
from tests.builders import (
    NOTHING_HELD,
    Data,
    at_stage,
    build_corpus,
    build_document,
    build_model,
    build_texts,
    build_workspace,
    contents,
    empty,
    prose,
    rows,
    run_data_stages,
)

HALF = SplitConfig(gate_share=0.3, validation_share=0.2)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return build_workspace(tmp_path)


def drops(workspace: Workspace, kept: Kept, task: str = "topics") -> dict[str, tuple[str, str | None]]:
    found: list[dict[str, Any]] = rows(workspace.at(kept.path) / task / "dropped.jsonl")
    return {row["key"]: (row["reason"], row["of"]) for row in found}


def texts(workspace: Workspace, kept: Kept, task: str = "topics") -> dict[str, str]:
    return {row["key"]: row["text"] for row in rows(workspace.at(kept.path) / task / "documents.jsonl")}


def known(workspace: Workspace, index: Index) -> dict[str, Entry]:
    return dict(OpenIndex([workspace.at(segment.path) for segment in index.segments]).items())


def first_refresh(workspace: Workspace, **pages: str) -> Data:
    return run_data_stages(workspace, {"topics": build_texts(workspace, pages)})


def second_refresh(workspace: Workspace, before: Data, withdrawn: tuple[str, ...] = (), **pages: str) -> Data:
    corpus = build_texts(workspace, pages, withdrawn=withdrawn, place="later")
    return run_data_stages(workspace, {"topics": corpus}, before, refresh="second")


def test_a_later_record_of_a_key_supersedes_the_earlier_one_even_in_another_task(workspace: Workspace) -> None:
    documents = [build_document("a", prose(1)), build_document("a", prose(2)), build_document("b", prose(3))]
    corpus = {
        "topics": build_corpus(workspace, documents),
        "other": build_texts(workspace, {"b": prose(4)}, task="other"),
    }
    kept = run_data_stages(workspace, corpus).kept
    assert texts(workspace, kept) == {"a": prose(2)}
    assert texts(workspace, kept, "other") == {"b": prose(4)}
    assert kept.superseded == {"topics": 2, "other": 0}


def test_an_exact_duplicate_in_any_task_is_dropped_and_names_its_twin(workspace: Workspace) -> None:
    corpus = {
        "topics": build_texts(workspace, {"a": prose(1), "b": prose(1)}),
        "other": build_texts(workspace, {"c": prose(1)}, task="other"),
    }
    kept = run_data_stages(workspace, corpus).kept
    assert drops(workspace, kept) == {"b": ("duplicate", "a")}
    assert drops(workspace, kept, "other") == {"c": ("duplicate", "a")}


def test_what_is_known_already_is_dropped(workspace: Workspace) -> None:
    before = first_refresh(workspace, a=prose(1))
    kept = second_refresh(workspace, before, a=prose(1), b=prose(1), c=prose(2)).kept
    assert drops(workspace, kept) == {"a": ("unchanged", "a"), "b": ("duplicate", "a")}
    assert kept.stale == ()
    assert set(known(workspace, kept.index)) == {"a", "c"}


def test_new_content_makes_the_old_stale(workspace: Workspace) -> None:
    before = first_refresh(workspace, a=prose(1), b=prose(2))
    kept = second_refresh(workspace, before, a=prose(3)).kept
    assert kept.stale == ("a",)
    index = known(workspace, kept.index)
    assert index["a"].content_hash == build_document("a", prose(3)).content_hash
    assert set(index) == {"a", "b"}


def test_content_that_comes_back_is_new_content(workspace: Workspace) -> None:
    once = first_refresh(workspace, a=prose(1))
    twice = second_refresh(workspace, once, a=prose(2))
    corpus = build_texts(workspace, {"a": prose(1)}, place="again")
    again = run_data_stages(workspace, {"topics": corpus}, twice, refresh="third").kept
    assert texts(workspace, again) == {"a": prose(1)}
    assert again.stale == ("a",)


def test_the_old_text_is_stale_even_if_the_new_one_is_dropped(workspace: Workspace) -> None:
    before = first_refresh(workspace, a=prose(1))
    kept = second_refresh(workspace, before, a="gone").kept
    assert kept.stale == ("a",)
    assert known(workspace, kept.index) == {}


def test_the_old_text_is_stale_if_its_key_is_now_held_out(workspace: Workspace) -> None:
    pages = {f"k{number}": prose(number) for number in range(30)}
    before = first_refresh(workspace, **pages)
    corpus = build_texts(workspace, pages, place="later")
    after = run_data_stages(workspace, {"topics": corpus}, before, splitting=HALF, refresh="second")
    held = after.holdout.held_out["topics"]
    assert 0 < held < 30
    assert len(after.kept.stale) == held
    assert after.kept.dropped["topics"] == {"unchanged": 30 - held}


def test_a_withdrawn_page_leaves_the_index_and_makes_room_for_its_text_elsewhere(workspace: Workspace) -> None:
    before = first_refresh(workspace, a=prose(1), b=prose(2))
    kept = second_refresh(workspace, before, withdrawn=("a", "unknown"), moved=prose(1)).kept
    assert kept.stale == ("a",)
    assert texts(workspace, kept) == {"moved": prose(1)}
    assert set(known(workspace, kept.index)) == {"b", "moved"}


def test_a_page_that_moves_to_another_task_is_kept_there(workspace: Workspace) -> None:
    before = first_refresh(workspace, a=prose(1))
    corpus = {
        "topics": build_corpus(workspace, [], withdrawn=["a"], place="later"),
        "other": build_texts(workspace, {"a": prose(1)}, task="other"),
    }
    kept = run_data_stages(workspace, corpus, before, refresh="second").kept
    assert kept.stale == ("a",)
    assert known(workspace, kept.index)["a"].task == "other"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("too short", "too-short"),
        ("long " * 50, "too-long"),
        ("12345 67890 " * 5, "character-class"),
        ("plain words\x00\x01 and some more of them here", "character-class"),
    ],
)
def test_a_document_that_is_not_fit_is_dropped_with_its_reason(workspace: Workspace, text: str, reason: str) -> None:
    corpus = {"topics": build_texts(workspace, {"a": text})}
    cleaning = CleanConfig.model_validate({"quality": [{"method": "basic", "max_characters": 240}]})
    kept = run_data_stages(workspace, corpus, cleaning=cleaning).kept
    assert drops(workspace, kept) == {"a": (reason, None)}


def test_held_out_documents_are_left_out_and_documents_that_contain_their_items_dropped(workspace: Workspace) -> None:
    pages = {f"k{number}": prose(number, 30) for number in range(40)}
    corpus = {"topics": build_texts(workspace, pages)}
    found = split(at_stage(workspace, "probe"), HALF, corpus, empty(HoldoutState))
    item = rows(workspace.at(found.gate.path) / "topics/anchor.jsonl")[0]
    around = f"{prose(900, 100)} {item['text']} {prose(901, 100)}"
    free = next(f"leak-{n}" for n in range(99) if side_of(HALF, TaskFacts(name="general"), f"leak-{n}") is None)
    corpus["general"] = build_texts(workspace, {free: around}, task="general", role="replay-only")
    data = run_data_stages(workspace, corpus, splitting=HALF)
    assert data.kept.kept == {"topics": 40 - data.holdout.held_out["topics"], "general": 0}
    assert drops(workspace, data.kept, "general") == {free: ("contains-holdout", item["id"])}


def test_a_copy_of_a_held_out_text_in_another_task_is_dropped(workspace: Workspace) -> None:
    corpus = {
        "exam": build_texts(workspace, {"e": prose(1, 10)}, task="exam", role="eval-only"),
        "topics": build_texts(workspace, {"a": prose(1, 10), "b": prose(2)}),
    }
    kept = run_data_stages(workspace, corpus).kept
    assert drops(workspace, kept) == {"a": ("contains-holdout", "e")}


def test_no_record_is_lost_or_counted_twice(workspace: Workspace) -> None:
    documents = [build_document(f"k{number % 50}", prose(number % 70)) for number in range(90)]
    documents += [build_document("short", "x"), build_document("twin", prose(69))]
    corpus = {"topics": build_corpus(workspace, documents, quarantined={"not JSON": 3})}
    data = run_data_stages(workspace, corpus, splitting=HALF)
    parts = [data.kept.kept, data.holdout.held_out, data.kept.superseded]
    assert sum(part["topics"] for part in parts) + sum(data.kept.dropped["topics"].values()) + 3 == 95
    lost = data.kept.model_copy(update={"kept": {"topics": data.kept.kept["topics"] - 1}})
    with pytest.raises(AssertionError, match="95 records landed, but kept"):
        conservation(corpus, data.holdout, lost, "topics")


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for place in ("one", "two"):
        workspace = build_workspace(tmp_path / place)
        corpus = {"topics": build_texts(workspace, {f"k{number}": prose(number % 30) for number in range(40)})}
        data = run_data_stages(workspace, corpus, splitting=HALF)
        made.append((data.kept, contents(workspace.at(data.kept.path))))
    assert made[0] == made[1]


def test_nothing_landed_leaves_the_index_as_it_was(workspace: Workspace) -> None:
    holdout = split(at_stage(workspace, "split"), NOTHING_HELD, {}, empty(HoldoutState))
    kept = clean(workspace, CleanConfig(), {}, holdout, empty(Index), empty(Buffer), build_model(workspace), {})
    assert kept.tasks == ()
    assert known(workspace, kept.index) == {}
