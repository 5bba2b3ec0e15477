from pathlib import Path

import pytest

from steps.clean import CleanConfig, clean
from steps.core.artifacts import Batch, Buffer, HoldoutState, Index, Kept, Landed, TaskFacts
from steps.core.manifest import LandedFile, Manifest, digest_of_landing
from steps.core.shards import digest_of_file, write_json, write_lines
from steps.core.workspace import Workspace
from steps.split import split
from tests.builders import NOTHING_HELD, at_stage, build_model, build_texts, build_workspace, empty, prose, rows

EXACT = CleanConfig.model_validate({"dedup": {"method": "exact"}})


def land(workspace: Workspace, pages: dict[str, str]) -> Landed:
    """A batch with these pages, as `perennial land` writes it."""
    folder = workspace.root / "data/landing/topics/0001"
    write_lines(folder / "files/pages.jsonl", ({"key": key, "text": text} for key, text in pages.items()))
    file = folder / "files/pages.jsonl"
    listed = (LandedFile(name="pages.jsonl", sha256=digest_of_file(file), bytes=file.stat().st_size),)
    digest = digest_of_landing(listed, ())
    manifest = Manifest(task="topics", name="0001", landed_at="", files=listed, removals=(), digest=digest)
    write_json(folder / "manifest.json", manifest.model_dump())
    batch = Batch(digest=digest, task="topics", name="0001", path=workspace.relative(folder), time="")
    return Landed(digest=digest, task=TaskFacts(name="topics"), batches=(batch,))


def run(
    workspace: Workspace,
    config: CleanConfig,
    pages: dict[str, str],
    index: Index,
    consumed: dict[str, Landed],
    place: str,
) -> Kept:
    corpus = {"topics": build_texts(workspace, pages, place=place)}
    holdout = split(at_stage(workspace, f"{place}/split"), NOTHING_HELD, corpus, empty(HoldoutState))
    stage, model = at_stage(workspace, f"{place}/clean"), build_model(workspace)
    return clean(stage, config, corpus, holdout, index, empty(Buffer), model, consumed)


def test_an_index_made_with_other_settings_is_made_anew_from_what_landed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = build_workspace(tmp_path)
    pages = {"a": prose(1, 200), "b": prose(2, 200)}
    landed = {"topics": land(workspace, pages)}
    first = run(workspace, EXACT, pages, empty(Index), {}, "first")
    assert not first.rebuilt
    later = {"c": prose(1, 200) + " more", "d": prose(3, 200)}
    kept = run(workspace, CleanConfig(), later, first.index, landed, "second")
    assert kept.rebuilt
    assert "2 documents, 0 of them without text" in caplog.text
    (row,) = rows(workspace.at(kept.path) / "topics/dropped.jsonl")
    assert (row["key"], row["reason"], row["of"]) == ("c", "near-duplicate", "a")
    assert len(kept.index.segments) == 2
    third = run(workspace, CleanConfig(), {"e": prose(2, 200) + " more"}, kept.index, landed, "third")
    assert not third.rebuilt
    assert third.dropped == {"topics": {"near-duplicate": 1}}


def test_what_no_batch_holds_any_more_keeps_its_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    workspace = build_workspace(tmp_path)
    first = run(workspace, EXACT, {"a": prose(1, 200)}, empty(Index), {}, "first")
    kept = run(workspace, CleanConfig(), {"a": prose(1, 200)}, first.index, {}, "second")
    assert "1 documents, 1 of them without text" in caplog.text
    assert kept.dropped == {"topics": {"unchanged": 1}}
