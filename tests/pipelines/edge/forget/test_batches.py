"""Batches without documents: other digests, the same names, a tombstone in the manifest, whole at every moment."""

import json
from pathlib import Path

import pytest

from pipelines.edge import landing
from pipelines.edge.forget.batches import (
    NEW,
    OLD,
    check_batches,
    present,
    present_landing,
    rewrite_batches,
    settle_batches,
)
from pipelines.edge.forget.target import Target, runs_of
from pipelines.edge.forget.tombstones import hash_of
from pipelines.edge.home import Home
from pipelines.edge.session import unconsumed
from steps.core.documents import content_hash
from steps.core.manifest import Tombstone, read_manifest
from tests.workspaces import NOW, workspace, write_rows

TARGET = Target(keys=frozenset({"a"}), contents=frozenset({content_hash("one")}), runs=runs_of(["an unreadable one"]))
STONE = Tombstone(key=hash_of("a"), content=content_hash("one"), when="t", why="w", who="x")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = workspace(tmp_path / "home", documents=2)
    path = write_rows(tmp_path / "rows.jsonl", [{"key": "a", "text": "one"}, {"key": "b", "text": "two"}])
    with path.open("a") as file:
        file.write("an unreadable one\n")
    landing.land(
        home.root, "types", [path, write_rows(tmp_path / "more.jsonl", [{"text": "one"}])], ["a", "z"], now=NOW
    )
    return home


def folder(home: Home) -> Path:
    return home.root / landing.batches(home.root, "types")[-1].path


def test_a_batch_keeps_its_name_and_says_in_hashes_what_left(home: Home) -> None:
    before, waiting = landing.batches(home.root, "types"), unconsumed(home, {})["types"]
    assert rewrite_batches(home.root, TARGET, [STONE], whole_files=False) == [f"types/{before[-1].name}"]
    after = landing.batches(home.root, "types")
    assert [batch.name for batch in after] == [batch.name for batch in before]
    assert after[0] == before[0]
    assert after[1].digest != before[1].digest
    manifest = read_manifest(folder(home))
    assert [file.name for file in manifest.files] == ["rows.jsonl"], "the other held nothing else"
    assert (folder(home) / "files/rows.jsonl").read_text() == json.dumps({"key": "b", "text": "two"}) + "\n"
    assert (manifest.removals, manifest.forgotten) == (("z",), (STONE,))
    assert present(home.root, before[1]) == after[1]
    assert present_landing(home.root, waiting) == unconsumed(home, {})["types"]
    assert rewrite_batches(home.root, TARGET, [STONE], whole_files=False) == []


def test_what_a_crash_cut_off_is_ended(home: Home) -> None:
    place = folder(home)
    half = place.with_name(NEW + place.name)
    half.mkdir()
    settle_batches(home.root)
    assert not half.exists(), "the old one is there: the new one may be half"
    place.rename(half)
    place.with_name(OLD + place.name).mkdir()
    settle_batches(home.root)
    assert {path.name for path in place.parent.iterdir()} >= {place.name}
    assert not list(place.parent.glob(".forget*"))


def test_a_file_that_cannot_be_rewritten_is_told_of_before_anything_changes(home: Home, tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "packed.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"key": "a", "text": "one"}\n{"key": "b", "text": "x"}\n' * 50, mtime=0)[:-4])
    batch = landing.land(home.root, "general", [path], now=NOW)
    assert batch
    before = {path: path.read_bytes() for path in (home.root / "data").rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="cannot be rewritten"):
        check_batches(home.root, TARGET, {("general", batch.name)})
    assert {path: path.read_bytes() for path in (home.root / "data").rglob("*") if path.is_file()} == before
    rewrite_batches(home.root, TARGET, [STONE], whole_files=True)
    assert read_manifest(home.root / landing.batches(home.root, "general")[-1].path).files == ()
