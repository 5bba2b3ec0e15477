"""What a backup holds, and what it leaves out."""

import json
import sqlite3
import tarfile
import threading
from pathlib import Path

import pytest

from pipelines.edge.home import Busy, Home
from pipelines.service.backup import DATABASE, MANIFEST, PREFECT_DATABASE, Manifest, backup
from tests.workspaces import land_rows, rows, workspace


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return workspace(tmp_path / "lamp", documents=3)


def contents(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as members:
        return {member.name: members.extractfile(member).read() for member in members}  # type: ignore[union-attr]


def write(home: Home, name: str, text: str = "x") -> None:
    path = home.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def database(home: Home, *commands: str, name: str = DATABASE) -> None:
    (home.root / name).parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(home.root / name) as connection:
        for command in commands:
            connection.execute(command)


def test_it_holds_what_cannot_be_made_again_and_nothing_else(home: Home, tmp_path: Path) -> None:
    kept = [
        "data/suites/canaries.jsonl",
        "mine.yaml",
        ".dvc/config",
        "data/state/ab/index.jsonl",
        ".perennial/mlflow/models/m-1/artifacts/MLmodel",
    ]
    kept += [".perennial/service/inbox.json", "data/inputs.json", ".perennial/models/hub-a--b/config.json"]
    kept += ["data/pilots/mine-ab/plan.json", "data/pilots/ab/pilot.json"]
    left = [
        ".dvc/config.local",
        ".dvc/cache/files/md5/ab/cd",
        "data/train/model/model.safetensors",
        "data/mix/used.jsonl",
        "data/pilots/ab/mix/used.jsonl",
    ]
    left += [".perennial/lock", ".perennial/service/logs/prefect.log", ".perennial/dvc-remote/files/md5/ab/cd"]
    left += [".perennial/models/version-m-1/config.json", "data/landing/types/.partial-x/a", ".env", "pipelines/x.yaml"]
    for name in kept + left:
        write(home, name)
    summary = backup(home, tmp_path / "lamp.tar.gz")
    found = contents(tmp_path / "lamp.tar.gz")
    assert set(kept) <= set(found)
    assert not set(left) & set(found)
    assert {"perennial.yaml", "dvc.yaml", "data/tasks.yaml", "data/contracts/documents.json"} <= set(found)
    assert sum(name.endswith("/manifest.json") for name in found) == 3, "every landing"
    assert summary.files == len(found) - 1
    manifest = Manifest.model_validate_json(found[MANIFEST])
    assert set(manifest.files) == set(found) - {MANIFEST}
    assert manifest.root == str(home.root)


def test_the_database_is_copied_as_of_one_moment_while_others_write(home: Home, tmp_path: Path) -> None:
    database(home, "PRAGMA journal_mode = WAL", "CREATE TABLE pairs (a, b)")
    stop = threading.Event()

    def keep_writing() -> None:
        with sqlite3.connect(home.root / DATABASE, timeout=30) as connection:
            number = 0
            while not stop.is_set():
                connection.execute("INSERT INTO pairs VALUES (?, ?)", (number, number))
                connection.execute("INSERT INTO pairs VALUES (?, ?)", (number, number))
                connection.commit()
                number += 1

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        backup(home, tmp_path / "lamp.tar.gz")
    finally:
        stop.set()
        writer.join()
    copy = tmp_path / "copy.db"
    copy.write_bytes(contents(tmp_path / "lamp.tar.gz")[DATABASE])
    with sqlite3.connect(copy) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) % 2 FROM pairs").fetchone() == (0,), "no half of a pair"


def test_prefects_database_only_when_asked_for(home: Home, tmp_path: Path) -> None:
    database(home, "CREATE TABLE flow_run (id)", name=PREFECT_DATABASE)
    backup(home, tmp_path / "without.tar.gz")
    backup(home, tmp_path / "with.tar.gz", prefect=True)
    assert PREFECT_DATABASE not in contents(tmp_path / "without.tar.gz")
    assert PREFECT_DATABASE in contents(tmp_path / "with.tar.gz")


def test_what_is_on_a_server_is_told_without_the_password(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert backup(home, tmp_path / "own.tar.gz").notes == ()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ana:hush@lamp:5000")
    (note,) = backup(home, tmp_path / "server.tar.gz").notes
    assert "on the MLflow server http://lamp:5000" in note
    database(home, "CREATE TABLE experiments (name)", f"INSERT INTO experiments VALUES ('{home.settings.name}')")
    assert backup(home, tmp_path / "served.tar.gz").notes == (), "the server works on the workspace's own database"


def test_a_base_whose_package_is_gone_is_stored(home: Home, tmp_path: Path) -> None:
    table = "CREATE TABLE model_version_tags (key, value)"
    database(home, table, "INSERT INTO model_version_tags VALUES ('perennial.base', 'pypi:no-such-package')")
    write(home, ".perennial/models/no-such-package-1.0/config.json")
    backup(home, tmp_path / "lamp.tar.gz")
    assert ".perennial/models/no-such-package-1.0/config.json" in contents(tmp_path / "lamp.tar.gz")


def test_a_landing_that_is_only_on_the_remote_takes_the_remote_along(home: Home, tmp_path: Path) -> None:
    import shutil

    write(home, ".perennial/dvc-remote/files/md5/ab/cd")
    second = land_rows(home, "types", rows("types", 3, 3))
    shutil.rmtree(next((home.root / "data/landing/types").glob("0001-*")))
    assert second.startswith("0002-")
    summary = backup(home, tmp_path / "lamp.tar.gz")
    assert summary.notes == ("landings that are only on the DVC remote: types",)
    assert ".perennial/dvc-remote/files/md5/ab/cd" in contents(tmp_path / "lamp.tar.gz")


def test_a_data_folder_on_another_disk_is_followed(home: Home, tmp_path: Path) -> None:
    (home.root / "data" / "landing").rename(tmp_path / "disk")
    (home.root / "data" / "landing").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "round").symlink_to(tmp_path / "disk")
    backup(home, tmp_path / "lamp.tar.gz")
    found = contents(tmp_path / "lamp.tar.gz")
    assert sum(name.endswith("/manifest.json") for name in found) == 3


def test_a_busy_workspace_and_a_file_in_the_way_are_refused(home: Home, tmp_path: Path) -> None:
    with home.lock(), pytest.raises(Busy, match="busy, held by process"):
        backup(home, tmp_path / "lamp.tar.gz")
    backup(home, tmp_path / "lamp.tar.gz")
    with pytest.raises(ValueError, match="exists already; nothing was written"):
        backup(home, tmp_path / "lamp.tar.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lamp", "lamp.tar.gz"], "nothing partial is left"


def test_progress_counts_the_bytes(home: Home, tmp_path: Path) -> None:
    told: list[tuple[str, int, int, str]] = []
    summary = backup(home, tmp_path / "lamp.tar.gz", progress=lambda *facts: told.append(facts))
    assert told[-1] == ("backup", summary.bytes, summary.bytes, "bytes")
    assert [done for _, done, _, _ in told] == sorted(done for _, done, _, _ in told)
    assert json.loads(contents(tmp_path / "lamp.tar.gz")[MANIFEST])["format"] == 1


def test_text_is_packed_and_weights_are_only_stored(home: Home, tmp_path: Path) -> None:
    write(home, ".perennial/mlflow/models/m-1/model.safetensors", "weights " * 20_000)
    write(home, "data/state/ab/index.jsonl", "text " * 40_000)
    write(home, "data/state/ab/more.jsonl", "text " * 40_000)
    summary = backup(home, tmp_path / "lamp.tar.gz")
    assert 160_000 < summary.archive_bytes < 200_000 < summary.bytes
    assert contents(tmp_path / "lamp.tar.gz")["data/state/ab/more.jsonl"] == b"text " * 40_000
