"""Segments without documents: new digests, versions that list them, history that can still be read."""

from pathlib import Path
from typing import Any

import numpy as np

from pipelines.edge.forget.segments import FORGOTTEN, identities, remove_segments, renamed, rewrite_segments
from pipelines.edge.forget.target import Target
from pipelines.edge.forget.tombstones import hash_of
from pipelines.edge.home import Home
from pipelines.edge.lineage import adopt
from steps.core.artifacts import Buffer, History, HoldoutState, Index, Model, Segment, TrainingState, Version
from steps.core.index import IndexRow, OpenIndex, write_index
from steps.core.manifest import Tombstone
from steps.core.shards import digest_of, read_lines, write_json, write_lines
from steps.core.state import buffer_documents, digest_of_folder, digest_of_segments
from steps.replay import MOST_SEGMENTS
from tests.builders import build_workspace, empty
from tests.steps.buffers import choose, fill, method_of

TARGET = Target(keys=frozenset({"a"}), contents=frozenset({"c" * 64}), items=frozenset({"1"}))
STONE = Tombstone(key=hash_of("a"), content="c" * 64, when="t", why="w", who="x")


def document(key: str, content: str, **more: Any) -> dict[str, Any]:
    facts = {"text": key, "task": "t", "source": "s", "language": "en", "time": "", "licence": "", "batch": "b"}
    return {"key": key, "content_hash": content, **facts, **more}


def segment(root: Path, folder: Path) -> Segment:
    digest = digest_of_folder(folder)
    place = root / "data/state" / digest[:32]
    folder.rename(place)
    return Segment(digest=digest, path=place.relative_to(root).as_posix())


def world(root: Path) -> tuple[Segment, Segment, Segment]:
    new = root / "data/state/new"
    write_lines(new / "removed.jsonl", [{"key": "old", "reason": "stale"}])
    write_lines(new / "added.jsonl", [document("a", "c" * 64, num_tokens=7), document("b", "d" * 64, num_tokens=5)])
    write_json(new / "segment.json", {"counts": {}})
    buffer = segment(root, new)
    write_index(
        new, [IndexRow("b", "t", "d" * 64), IndexRow("a", "t", "c" * 64)], np.ones((2, 3), dtype=np.uint64), "how"
    )
    index = segment(root, new)
    write_lines(new / "removed.jsonl", [])
    write_lines(new / "t/anchor.jsonl", [{"id": "1", "document": "a"}, {"id": "2", "document": "b"}])
    return buffer, index, segment(root, new)


def version(state: tuple[Segment, Segment, Segment], parent: str) -> Version:
    buffer, index, holdout = ((each,) for each in state)
    model = Model(digest="m", path="p", num_parameters=1)
    made = Version(
        digest="",
        name="1",
        model=model,
        training_state=TrainingState(digest=""),
        buffer=Buffer(segments=buffer, digest=digest_of_segments(buffer), num_tokens={"t": 12}),
        index=Index(segments=index, digest=digest_of_segments(index)),
        holdout=HoldoutState(segments=holdout, digest=digest_of_segments(holdout)),
        history=History(digest=""),
        references=(Model(digest="base", path="p", num_parameters=1),),
        consumed={"t": ("0001-aa",)},
    )
    parts = [parent, model.digest, made.buffer.digest, made.index.digest, made.holdout.digest, made.consumed]
    return made.model_copy(update={"digest": digest_of(parts)})


def test_every_file_of_a_segment_loses_its_rows_and_says_so_in_hashes(tmp_path: Path) -> None:
    buffer, index, holdout = world(tmp_path)
    moved = rewrite_segments(tmp_path, TARGET, [STONE])
    assert moved.keys() == {Path(each.path).name for each in (buffer, index, holdout)}
    folders = [tmp_path / "data/state" / moved[Path(each.path).name][:32] for each in (buffer, index, holdout)]
    assert [row["key"] for row in read_lines(folders[0] / "added.jsonl")] == ["b"]
    assert [row["document"] for row in read_lines(folders[2] / "t/anchor.jsonl")] == ["b"]
    rows = list(read_lines(folders[1] / "index.jsonl"))
    assert rows[1] == {"key": f"forgotten:{hash_of('a')}", "task": "t", "removed": True}
    opened = OpenIndex([folders[1]])
    assert opened.entries(["a"]) == [None]
    assert opened.owners(["c" * 64, "d" * 64]) == [None, "b"]
    assert opened.near(np.ones((1, 3), dtype=np.uint64)) == ["b"]
    assert [list(read_lines(folder / FORGOTTEN)) for folder in folders] == [[STONE.model_dump()]] * 3
    assert all(digest_of_folder(folder)[:32] == folder.name for folder in folders)


def test_doing_it_again_gives_the_same_until_the_old_ones_are_gone(tmp_path: Path) -> None:
    world(tmp_path)
    moved = rewrite_segments(tmp_path, TARGET, [STONE])
    assert rewrite_segments(tmp_path, TARGET, [STONE]) == moved
    remove_segments(tmp_path, list(moved))
    assert rewrite_segments(tmp_path, TARGET, [STONE]) == {}
    assert len(list((tmp_path / "data/state").iterdir())) == 3


def test_versions_list_the_new_segments_and_are_called_anew_down_the_line(tmp_path: Path) -> None:
    base = digest_of(["base", "base"])
    state = world(tmp_path)
    first = version(state, base)
    second = version(state, first.digest)
    moved = rewrite_segments(tmp_path, TARGET, [STONE])
    after = [renamed(tmp_path, each, moved) for each in (first, second)]
    assert after[0].buffer.num_tokens == {"t": 5}
    assert after[0].index.segments[0].digest == moved[Path(state[1].path).name]
    found = identities([first, second], after)
    assert found[base] == base
    expected = version((after[0].buffer.segments[0], after[0].index.segments[0], after[0].holdout.segments[0]), base)
    assert found[first.digest] == expected.digest
    assert found[second.digest] not in {first.digest, second.digest, found[first.digest]}
    assert renamed(tmp_path, after[0], moved) == after[0]


def test_a_buffer_that_was_written_anew_forgets_in_every_version_that_holds_the_document(tmp_path: Path) -> None:
    workspace, home = build_workspace(tmp_path), Home(tmp_path)
    method = method_of({"method": "balanced", "capacity": 100})
    buffers = [empty(Buffer)]
    for number in range(MOST_SEGMENTS + 3):
        key = "a" if number == 1 else f"k{number}"
        chosen = choose(workspace, {"law": {key: f"text {number}"}})
        buffers.append(adopt(home, fill(workspace, method, chosen, buffers[-1], "replay")))
    assert [len(buffer.segments) for buffer in buffers[-4:]] == [MOST_SEGMENTS, 1, 2, 3]
    before = [buffer_documents(workspace, buffer) for buffer in buffers]
    moved = rewrite_segments(tmp_path, TARGET, [STONE])
    nowhere = Segment(digest="e" * 64, path="data/state/nowhere")
    state = version((nowhere, nowhere, nowhere), "base")
    versions = [state.model_copy(update={"buffer": buffer}) for buffer in buffers]
    after = [renamed(tmp_path, each, moved).buffer for each in versions]
    remove_segments(tmp_path, list(moved))
    assert len(moved) == 2, "the segment in which it came, and the one that lists all"
    for held, buffer in zip(before, after, strict=True):
        found = buffer_documents(workspace, buffer)
        assert found == {key: document for key, document in held.items() if key != "a"}
        assert buffer.num_tokens == ({"law": sum(each.num_tokens for each in found.values())} if found else {})
    assert not any(b'"a"' in path.read_bytes() for path in (tmp_path / "data/state").rglob("added.jsonl"))
    following = fill(workspace, method, choose(workspace, {"law": {"z": "one more"}}), after[-1], "replay")
    assert buffer_documents(workspace, following).keys() == {*before[-1].keys() - {"a"}, "z"}
