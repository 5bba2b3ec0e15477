from pathlib import Path

from steps.core.artifacts import HoldoutState
from steps.core.documents import Item, Message, read_items
from steps.core.holdouts import cut_items, held_folders, rows_of, without_tasks
from steps.core.index import OpenIndex
from steps.core.records import FREE, HELD, SUPERSEDED
from steps.core.shards import digest_of
from steps.core.state import HeldDocument, current_holdout
from steps.split import SplitConfig, split
from tests.builders import at_stage, build_corpus, build_document, build_texts, build_workspace, empty, prose

HALF = SplitConfig(gate_share=0.3, validation_share=0.2, min_fresh_items=1)


def test_every_record_is_free_held_or_superseded(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    documents = [build_document(f"k{number}", prose(number)) for number in (*range(20), 0)]
    holdout = split(
        at_stage(workspace, "split"), HALF, {"topics": build_corpus(workspace, documents)}, empty(HoldoutState)
    )
    states = rows_of(workspace, holdout, "topics").tolist()
    assert states[0] == SUPERSEDED
    assert states.count(SUPERSEDED) == 1
    assert states.count(HELD) == holdout.held_out["topics"]
    assert states.count(FREE) == 20 - holdout.held_out["topics"]


def test_held_documents_are_found_by_part_and_task(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    corpus = {
        task: build_texts(workspace, {f"{task}-{n}": prose(n + at) for n in range(20)}, task=task)
        for task, at in (("one", 0), ("two", 100))
    }
    holdout = split(at_stage(workspace, "split"), HALF, corpus, empty(HoldoutState))
    parts = current_holdout(workspace, holdout.state).parts()
    for part in ("gate", "validation"):
        found = set(OpenIndex(held_folders(workspace, holdout.state, part)).keys())
        assert found == {key for key, own in parts.items() if own == part}
        assert {key for key in found if key.startswith("one")} == set(
            OpenIndex(held_folders(workspace, holdout.state, part, "one")).keys()
        )


def test_a_task_that_is_left_out_keeps_what_it_had(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    first = {f"k{number}": prose(number) for number in range(20)}
    before = split(at_stage(workspace, "one"), HALF, {"topics": build_texts(workspace, first)}, empty(HoldoutState))
    later = {
        "topics": build_texts(workspace, {f"n{n}": prose(n + 50) for n in range(20)}, withdrawn=["k0"], place="later"),
        "other": build_texts(workspace, {f"o{n}": prose(n + 90) for n in range(20)}, task="other"),
    }
    both = split(at_stage(workspace, "two"), HALF, later, before.state)
    rest = without_tasks(workspace, workspace.root / "data/two/rest", both, {"topics"})
    assert rest.held_out == {"other": both.held_out["other"]}
    assert rest.gate.anchor["topics"] == before.gate.anchor["topics"]
    assert "topics" not in rest.gate.fresh
    assert rest.gate.fresh["other"] == both.gate.fresh["other"]
    assert {key for key in current_holdout(workspace, rest.state).parts() if key.startswith(("k", "n"))} == set(
        current_holdout(workspace, before.state).parts()
    )


def test_recent_items_of_a_task_that_is_left_out_are_those_it_had(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    state, fresh = empty(HoldoutState), list[Item]()
    few = HALF.model_copy(update={"gate_items": 4, "min_fresh_items": 0})
    for turn in range(3):
        texts = {f"{turn}-{number}": prose(100 * turn + number, 30) for number in range(30)}
        withdrawn = [fresh[0].document] if turn == 2 else []
        corpus = build_texts(workspace, texts, place=f"corpus-{turn}", withdrawn=withdrawn)
        holdout = split(at_stage(workspace, f"split-{turn}"), few, {"topics": corpus}, state)
        state = holdout.state
        fresh += read_items(workspace.at(holdout.gate.path) / "topics" / "fresh.jsonl") if turn == 1 else []
    assert holdout.gate.recent == {"topics": len(fresh) - 1}
    rest = without_tasks(workspace, workspace.root / "data/split-2/rest", holdout, {"topics"})
    assert read_items(workspace.at(rest.gate.path) / "topics" / "recent.jsonl") == fresh
    assert rest.fresh_refreshes == 4


def test_a_labelled_document_is_one_item_with_its_turns() -> None:
    said = (Message(role="prompt", content=prose(1, 50)), Message(role="completion", content="Yes."))
    text = f"{said[0].content}\n\nYes."
    plain = HeldDocument(**build_document("a", text).model_dump(), part="gate")
    row = plain.model_copy(update={"messages": said})
    assert len(cut_items("topics", [plain], "gate", [], (8, 36))) == 2
    (item,) = cut_items("topics", [row], "gate", [], (8, 36))
    assert (item.text, item.messages, item.time) == (text, said, plain.time)
    (whole,) = cut_items("topics", [plain], "gate", [], (8, 60))
    assert (whole.text, whole.messages, whole.time) == (text, None, None)
    assert whole.id != item.id


def test_the_id_of_a_plain_item_is_what_it_was() -> None:
    document = HeldDocument(**build_document("a", "ten words " * 5).model_dump(), part="gate")
    (item,) = cut_items("topics", [document], "gate", [], (8, 36))
    assert item.id == digest_of(["topics", "a", "ten words " * 5])[:16]


def test_items_come_one_of_each_document_first() -> None:
    documents = [
        HeldDocument(**build_document(key, prose(number, 90)).model_dump(), part="gate")
        for number, key in enumerate(("a", "b"))
    ]
    items = cut_items("topics", documents, "gate", [], (8, 36))
    assert {item.document for item in items[:2]} == {"a", "b"}
    assert not cut_items("topics", documents, "validation", [], (8, 36))
    assert not {item.text for item in cut_items("topics", documents, "gate", items[:1], (8, 36))} & {items[0].text}
