"""DVC without a document: its objects leave the cache and the remotes, and what is left is all that is named."""

import json
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.edge import versioning
from pipelines.edge.forget.batches import rewrite_batches
from pipelines.edge.forget.objects import point_anew, remove_objects, to_remove
from pipelines.edge.forget.search import find
from pipelines.edge.forget.target import Target
from pipelines.edge.forget.tombstones import bury
from pipelines.edge.home import Home
from steps.core.shards import write_json, write_lines
from tests.workspaces import land_rows, workspace

pytestmark = pytest.mark.pipeline

GONE = {"key": "gone/1", "text": "a text that is to be forgotten, marked zqx"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Two attempts were pushed; the stages of the first are in no folder any more."""
    home = workspace(tmp_path, documents=2)
    for attempt, own in enumerate(([GONE, {"key": "b", "text": "other"}], [{"key": "c", "text": "third"}])):
        land_rows(home, "types", own)
        for stage in ("ingest/types", "ingest/statements", "ingest/general", "split", "clean", "select", "plan", "mix"):
            rows = [{**row, "stage": stage} for row in own]
            write_lines(home.root / "data" / stage / "rows.jsonl", rows if stage in {"select", "mix"} else [])
            write_json(home.root / "data" / stage / "record.json", {"stage": stage, "attempt": attempt})
        (home.root / "data/mix/streams").mkdir(exist_ok=True)
        (home.root / "data/mix/streams/0.safetensors").write_bytes(b"\0packed" + bytes([attempt]))
        write_json(home.root / "data/inputs.json", {"attempt": attempt})
        write_json(home.root / "data/merge/record.json", {})
        write_json(home.root / "data/replay/record.json", {"attempt": attempt})
        versioning.add_landings(home.root, ["types", "general", "statements"])
        versioning.commit_stages(home.root)
    return home


def objects(root: Path) -> dict[str, bytes]:
    return {path.parent.name + path.name: path.read_bytes() for path in root.rglob("md5/*/*") if path.is_file()}


def test_what_holds_it_and_what_was_packed_of_it_leaves_and_the_rest_stays(home: Home) -> None:
    before = objects(home.root / ".dvc/cache")
    assert any(b"zqx" in raw for raw in before.values())
    target = find(home.root, [GONE["key"]], []).target
    rewrite_batches(home.root, target, [], whole_files=False)
    removed = remove_objects(home.root, target)
    assert removed["cache"] == removed["remote local"] > 5
    for place in (home.root / ".dvc/cache", home.hidden / "dvc-remote"):
        left = objects(place)
        assert not [oid for oid, raw in left.items() if b"zqx" in raw or b"packed\0" in raw]
        assert b"\0packed\1" in left.values(), "the second attempt had nothing to do with it"
        records = [json.loads(raw) for oid, raw in before.items() if oid not in left and b'"stage": ' in raw]
        assert {(each["stage"], each["attempt"]) for each in records} == {("select", 0), ("mix", 0)}
    assert remove_objects(home.root, target) == {"cache": 0, "remote local": 0}


def test_pointers_name_what_is_there(home: Home) -> None:
    from dvc.repo import Repo

    target = find(home.root, [GONE["key"]], []).target
    rewrite_batches(home.root, target, [], whole_files=False)
    bury(home.root, [])
    remove_objects(home.root, target)
    (home.root / "data/mix/record.json").unlink()
    (home.root / "data/mix/rows.jsonl").unlink()
    (home.root / "data/mix/streams/0.safetensors").unlink()
    (home.root / "data/mix/streams").rmdir()
    (home.root / "data/mix").rmdir()
    point_anew(home.root)
    lock = yaml.safe_load((home.root / "dvc.lock").read_text())
    assert "mix" not in lock["stages"]
    assert "select" in lock["stages"]
    with closing(Repo(str(home.root))) as repo:
        assert {name.split(":")[-1] for name in repo.status()} >= {"mix", "ingest@types"}
    for place in (home.root / ".dvc/cache/files/md5", home.hidden / "dvc-remote/files/md5"):
        for oid in _named(home.root, lock, place):
            assert (place / oid[:2] / oid[2:]).exists(), oid


def _named(root: Path, lock: dict[str, Any], place: Path) -> list[str]:
    """The objects that pointers name, and those in their lists."""
    pointers = [yaml.safe_load(path.read_text()) for path in (root / "data").rglob("*.dvc")]
    oids = [out["md5"] for each in (*lock["stages"].values(), *pointers) for out in each["outs"]]
    assert len(oids) > 8
    lists = [json.loads((place / oid[:2] / oid[2:]).read_bytes()) for oid in oids if oid.endswith(".dir")]
    return [*oids, *(row["md5"] for rows in lists for row in rows)]


def test_a_workspace_without_dvc_has_nothing_to_remove(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=2)
    assert remove_objects(home.root, find(home.root, [], []).target) == {}
    point_anew(home.root)


def test_objects_that_lie_elsewhere_are_looked_at_here_and_leave_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    import fsspec

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files = fsspec.filesystem("memory")
    content = {"aa1": b'{"key": "gone/1"}\n', "bb2": b'{"key": "b"}\n'}
    listing = [{"md5": oid, "relpath": f"{oid}.jsonl"} for oid in content]
    for oid, raw in {**content, "cc3.dir": json.dumps(listing).encode()}.items():
        files.pipe_file(f"/store/{oid}", raw)
    store = SimpleNamespace(fs=files, oid_to_path=lambda oid: f"/store/{oid}")
    target = Target(keys=frozenset({"gone/1"}), contents=frozenset())
    assert to_remove(store, {*content, "cc3.dir"}, target, {}) == {"aa1", "cc3.dir"}
    assert list(tmp_path.iterdir()) == []
