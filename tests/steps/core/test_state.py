from pathlib import Path

import pytest

from steps.core.artifacts import Buffer, HoldoutState
from steps.core.shards import digest_of, write_json, write_lines
from steps.core.state import (
    Buffered,
    CountedDocument,
    HeldDocument,
    buffer_documents,
    current_holdout,
    current_items,
    describe_segment,
    digest_of_folder,
    digest_of_segments,
    read_buffer,
    replay_documents,
)
from steps.core.workspace import Workspace
from tests.builders import build_document, build_texts, build_workspace, prose, run_data_stages


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return build_workspace(tmp_path)


def build_buffer(workspace: Workspace, *segments: tuple[list[str], list[CountedDocument]]) -> Buffer:
    made = []
    for number, (removed, added) in enumerate(segments):
        folder = workspace.root / f"buffer-{number}"
        write_lines(folder / "removed.jsonl", ({"key": key, "reason": "stale"} for key in removed))
        write_lines(folder / "added.jsonl", (document.model_dump() for document in added))
        write_json(folder / "segment.json", {"counts": {"seen": 10 * (number + 1)}})
        made.append(describe_segment(workspace, folder))
    return Buffer(digest=digest_of_segments(made), segments=tuple(made))


def counted(key: str, text: str, task: str = "topics") -> CountedDocument:
    return CountedDocument(**build_document(key, text, task).model_dump(), num_tokens=len(text))


def test_a_segment_of_the_buffer_removes_before_it_adds(workspace: Workspace) -> None:
    old, new = counted("a", "old"), counted("a", "new")
    buffer = build_buffer(workspace, ([], [old, counted("b", "stays")]), (["a"], [new]))
    assert [document.text for document in buffer_documents(workspace, buffer).values()] == ["stays", "new"]
    assert read_buffer(workspace, buffer).counts == {"seen": 20}


def test_a_withdrawn_key_leaves_the_hold_outs_with_its_items(workspace: Workspace) -> None:
    folders = [workspace.root / "held-0", workspace.root / "held-1"]
    documents = [HeldDocument(**build_document(key, key).model_dump(), part="gate") for key in "ab"]
    write_lines(folders[0] / "topics" / "documents.jsonl", (document.model_dump() for document in documents))
    items = [{"id": key, "task": "topics", "document": key, "text": key} for key in "ab"]
    write_lines(folders[0] / "topics" / "anchor.jsonl", items)
    write_lines(folders[1] / "removed.jsonl", [{"key": "a"}])
    segments = tuple(describe_segment(workspace, folder) for folder in folders)
    held = current_holdout(workspace, HoldoutState(digest=digest_of_segments(segments), segments=segments))
    assert held.parts() == {"b": "gate"}
    assert [item.id for item in held.anchor["topics"]] == ["b"]


def test_the_digest_of_a_folder_knows_names_and_bytes_but_not_its_place(tmp_path: Path) -> None:
    for place in ("one", "two"):
        write_lines(tmp_path / place / "a" / "rows.jsonl", [{"x": 1}])
    write_lines(tmp_path / "three" / "b" / "rows.jsonl", [{"x": 1}])
    digests = [digest_of_folder(tmp_path / place) for place in ("one", "two", "three")]
    assert digests[0] == digests[1] != digests[2]
    assert digest_of_segments([]) == digest_of([])


def test_retired_items_are_not_read_however_long_the_line_is(workspace: Workspace) -> None:
    segments, sizes = [], []
    for number in range(30):
        folder = workspace.root / f"holdout-{number}"
        for name in ("anchor", "fresh") if number else ("anchor",):
            count = 2 if name == "fresh" else 4 * (number == 0)
            rows = [
                {"id": f"{name}-{number}-{k}", "task": "topics", "document": f"d{number}", "text": "some text"}
                for k in range(count)
            ]
            write_lines(folder / "topics" / f"{name}.jsonl", rows)
        segments.append(describe_segment(workspace, folder))
        held = current_items(workspace, HoldoutState(digest="", segments=tuple(segments)), num_recent=3)
        sizes.append((len(held.anchor["topics"]), len(held.recent.get("topics", []))))
    assert sizes[:5] == [(4, 0), (4, 2), (4, 4), (4, 6), (4, 6)]
    assert set(sizes[4:]) == {(4, 6)}
    assert {item.document for item in held.recent["topics"]} == {"d27", "d28", "d29"}


def test_replay_draws_from_the_buffer_without_stale_keys_and_from_replay_only_tasks(workspace: Workspace) -> None:
    corpus = {
        "topics": build_texts(workspace, {"a": prose(1)}),
        "general": build_texts(workspace, {"g": prose(2), "h": prose(3)}, task="general", role="replay-only"),
    }
    chosen = run_data_stages(workspace, corpus).chosen.model_copy(update={"stale": ("gone",)})
    held = [counted("gone", "old"), counted("b", "kept"), counted("g", "an older text", "general")]
    pool = replay_documents(workspace, chosen, build_buffer(workspace, ([], held)))
    texts = {task: {document.key: document.text for document in documents} for task, documents in pool.items()}
    assert texts == {"general": {"g": prose(2), "h": prose(3)}, "topics": {"b": "kept"}}


def test_documents_of_older_segments_came_with_the_segment_that_added_them(workspace: Workspace) -> None:
    buffer = build_buffer(workspace, ([], [counted("a", "one")]), (["a"], []), ([], [counted("b", "two")]))
    found = read_buffer(workspace, buffer)
    assert [(key, document.refresh, document.why) for key, document in found.documents.items()] == [("b", 3, "")]
    assert (found.refresh, found.method, found.num_rows) == (3, "", 3)


def test_a_buffer_before_the_first_refresh_holds_nothing(workspace: Workspace) -> None:
    assert read_buffer(workspace, Buffer(digest="empty")) == Buffered()


def test_a_document_is_held_for_the_newest_reason(workspace: Workspace) -> None:
    buffer = build_buffer(workspace, ([], [counted("a", "one")]), ([], []))
    folder = workspace.at(buffer.segments[1].path)
    write_lines(folder / "changed.jsonl", [{"key": "a", "why": "task topics"}, {"key": "gone", "why": "task topics"}])
    found = read_buffer(workspace, buffer)
    assert {key: document.why for key, document in found.documents.items()} == {"a": "task topics"}
    assert found.num_rows == 3
