"""Tombstones: what was forgotten does not land again, and nothing can be read from them."""

import gzip
import json
from pathlib import Path

import pytest

from pipelines.edge import landing
from pipelines.edge.forget.tombstones import TOMBSTONES, bury, hash_of, read_tombstones
from pipelines.edge.home import Home
from steps.core.documents import content_hash
from steps.core.manifest import Tombstone, read_manifest
from tests.workspaces import NOW, workspace, write_rows

GONE = Tombstone(
    key=hash_of("secret/1"), content=content_hash("a secret"), when="2026-01-01T00:00:00+00:00", why="asked", who="ana"
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = workspace(tmp_path / "home", documents=2)
    bury(home.root, [GONE])
    return home


def test_a_tombstone_is_there_once_and_says_nothing_in_clear(home: Home) -> None:
    bury(home.root, [GONE])
    assert read_tombstones(home.root) == [GONE]
    written = (home.root / TOMBSTONES).read_text()
    assert "secret/1" not in written
    assert "a secret" not in written


def test_it_does_not_land_again_by_its_key_or_its_content(home: Home, tmp_path: Path) -> None:
    others = [{"key": "other/1", "text": "something else"}]
    again = [{"key": "secret/1", "text": "changed"}, *others, {"key": "new", "text": "a secret"}, {"text": "a secret"}]
    batch = landing.land(home.root, "types", [write_rows(tmp_path / "rows.jsonl", again)], now=NOW)
    assert batch
    folder = home.root / batch.path
    assert (folder / "files/rows.jsonl").read_text() == json.dumps(others[0]) + "\n"
    assert read_manifest(folder).forgotten == (GONE,)
    assert [each.digest for each in landing.batches(home.root, "types")][-1] == batch.digest


def test_what_holds_nothing_else_does_not_land_at_all(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"key": "x", "text": "a secret"}\n'))
    before = landing.batches(home.root, "types")
    assert landing.land(home.root, "types", [path], now=NOW) is None
    assert landing.land(home.root, "types", [], ["secret/1"], now=NOW) is None, "its key is not written down again"
    assert landing.batches(home.root, "types") == before
    assert not list((home.root / "data/landing/types").glob(".*"))
