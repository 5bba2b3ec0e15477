"""A restored workspace goes on as if nothing had happened; what is damaged or hostile is refused whole."""

import io
import sqlite3
import tarfile
from pathlib import Path

import pytest

from pipelines.edge.base_models import resolve_base
from pipelines.edge.home import Home
from pipelines.edge.operations import reproduce, status
from pipelines.edge.registry import Registry
from pipelines.service.backup import MANIFEST, Base, Manifest, backup
from pipelines.service.restore import _rebuild, _relocate, restore
from tests.workspaces import land_rows, rows, run, tiny, workspace

HOSTILE = ["../out", "/tmp/perennial-out", "data/../../out", "data//x", "./x", "a\\..\\b", ".restoring/x"]


def packed(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    """An archive of these members, with a manifest that names none of them."""
    manifest = Manifest(workspace="lamp", root="/old", made="now", perennial="0", files={}, bases={}, notes=())
    content = manifest.model_dump_json().encode()
    last = tarfile.TarInfo(MANIFEST)
    last.size = len(content)
    with tarfile.open(path, "w:gz") as archive:
        for member, data in (*members, (last, content)):
            archive.addfile(member, io.BytesIO(data))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"") -> tuple[tarfile.TarInfo, bytes]:
    found = tarfile.TarInfo(name)
    found.type, found.size, found.linkname = kind, len(data), "/etc/passwd"
    return found, data


@pytest.mark.parametrize("name", HOSTILE)
def test_no_member_leaves_the_folder(name: str, tmp_path: Path) -> None:
    archive = packed(tmp_path / "bad.tar.gz", member(name, data=b"x"))
    with pytest.raises(ValueError, match="no plain file inside the folder; nothing was restored"):
        restore(archive, tmp_path / "new" / "lamp")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.tar.gz"]
    assert not Path("/tmp/perennial-out").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    archive = packed(tmp_path / "bad.tar.gz", member("data/x", kind))
    with pytest.raises(ValueError, match="no plain file"):
        restore(archive, tmp_path / "lamp")
    assert not (tmp_path / "lamp").exists()


def test_a_member_that_the_manifest_does_not_name_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "bad.tar.gz", member("perennial.yaml", data=b"name: other\n"))
    with pytest.raises(ValueError, match=r"damaged: perennial.yaml differ from its backup.json"):
        restore(archive, tmp_path / "lamp")
    twice = packed(tmp_path / "twice.tar.gz", member("a", data=b"x"), member("a", data=b"y"))
    with pytest.raises(ValueError, match="member 'a'"):
        restore(twice, tmp_path / "lamp")


def test_damage_anywhere_is_found_and_nothing_is_moved_into_place(tmp_path: Path) -> None:
    backup(workspace(tmp_path / "lamp", documents=20), tmp_path / "lamp.tar.gz")
    whole = (tmp_path / "lamp.tar.gz").read_bytes()
    bad = tmp_path / "bad.tar.gz"
    for place in range(100, len(whole), len(whole) // 40):  # before that is the name that the file once had
        bad.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="nothing was restored"):
            restore(bad, tmp_path / "new")
        bad.write_bytes(whole[:place])
        with pytest.raises(ValueError, match="nothing was restored"):
            restore(bad, tmp_path / "new")
        assert not (tmp_path / "new").exists()


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello", encoding="utf-8")
    with pytest.raises(ValueError, match="damaged, or no backup"):
        restore(tmp_path / "text", tmp_path / "new")
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as archive:
        archive.addfile(member("a", data=b"x")[0], io.BytesIO(b"x"))
    with pytest.raises(ValueError, match=r"no backup.json in it"):
        restore(tmp_path / "other.tar.gz", tmp_path / "new")
    with pytest.raises(FileNotFoundError):
        restore(tmp_path / "missing.tar.gz", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_only_into_a_new_or_empty_folder(tmp_path: Path) -> None:
    home = workspace(tmp_path / "lamp", documents=3)
    backup(home, tmp_path / "lamp.tar.gz")
    before = sorted(home.root.rglob("*"))
    with pytest.raises(ValueError, match="wanted a new or empty folder"):
        restore(tmp_path / "lamp.tar.gz", home.root)
    assert sorted(home.root.rglob("*")) == before
    (tmp_path / "empty" / ".restoring").mkdir(parents=True)
    (tmp_path / "empty" / ".restoring" / "half").write_text("of a restore that was killed", encoding="utf-8")
    assert restore(tmp_path / "lamp.tar.gz", tmp_path / "empty").files > 5
    assert not (tmp_path / "empty" / ".restoring").exists()


def test_places_move_even_where_the_new_folder_ends_like_the_old_one(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    values = ["file:///a b/ws/.perennial/mlflow", "/a b/ws/.perennial/x", "file:///a b/ws2/.perennial/y", "say /a b/ws"]
    values[0] = Path("/a b/ws/.perennial/mlflow").as_uri()
    with sqlite3.connect(database) as connection:
        connection.execute('CREATE TABLE "odd ""name" (place VARCHAR(200), size INTEGER)')
        connection.executemany('INSERT INTO "odd ""name" VALUES (?, 1)', [(value,) for value in values])
    _relocate(database, Path("/a b/ws"), Path("/disk/a b/ws"))
    with sqlite3.connect(database) as connection:
        found = [row[0] for row in connection.execute('SELECT place FROM "odd ""name"')]
    moved = [Path("/disk/a b/ws/.perennial/mlflow").as_uri(), "/disk/a b/ws/.perennial/x"]
    assert found == [*moved, *values[2:]]


def test_a_base_that_was_left_out_is_made_again_and_must_be_the_same(tmp_path: Path) -> None:
    model = resolve_base(tmp_path / "old", "tiny:3")
    place = {model.path: Base(address="tiny:3", digest=model.digest)}
    assert _rebuild(tmp_path / "new", place) == []
    assert (tmp_path / "new" / model.path / "model.safetensors").exists()
    (note,) = _rebuild(tmp_path / "new", {model.path: Base(address="tiny:4", digest=model.digest)})
    assert "is not what this line began with" in note
    (note,) = _rebuild(tmp_path / "new", {"x": Base(address="pypi:no-such-package", digest="")})
    assert "pip install --no-deps no-such-package" in note


@pytest.mark.pipeline
def test_a_line_goes_on_in_another_folder_as_if_nothing_had_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    import pandas

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    before = workspace(tmp_path / "lamp", documents=60)
    run(before)
    told = status(before)
    backup(before, tmp_path / "lamp.tar.gz")
    before.root.rename(tmp_path / "gone")  # nothing may be read from there
    (tmp_path / "disk" / "lamp").mkdir(parents=True)
    restore(tmp_path / "lamp.tar.gz", tmp_path / "disk" / "lamp")

    home = Home(tmp_path / "disk" / "lamp")
    assert status(home) == told
    assert told["champion"] == "1"
    registry = Registry(home)
    assert registry.folder("1").is_relative_to(home.root)
    served = mlflow.pyfunc.load_model(f"models:/{registry.name}@champion")
    assert len(served.predict(pandas.DataFrame({"prompt": ["A"]}), params={"max_new_tokens": 2})) == 1
    found = reproduce(home, "1")
    assert found.identical, found
    land_rows(home, "types", rows("types", 60, 60))
    outcome = run(home, tiny(gate={"superiority": "not-required", "margin_nats": 1.0}))
    assert (outcome.kind, outcome.parent, outcome.version) == ("accepted", "1", "2")
