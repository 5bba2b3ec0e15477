"""DVC: landings and stages, pushed to the local remote, brought back."""

import json
import shutil
from pathlib import Path

from pipelines.edge import versioning


def landing(root: Path, text: str) -> Path:
    file = root / "data" / "landing" / "wiki" / "0001-a" / "rows.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_a_landing_has_a_hash_and_comes_back_from_the_remote(tmp_path: Path) -> None:
    file = landing(tmp_path, "one\n")
    first = versioning.add_landings(tmp_path, ["wiki"])
    versioning.commit_stages(tmp_path)
    shutil.rmtree(tmp_path / "data" / "landing" / "wiki")
    shutil.rmtree(tmp_path / ".dvc" / "cache")
    versioning.fetch_landing(tmp_path, "wiki")
    assert file.read_text(encoding="utf-8") == "one\n"
    assert first["wiki"].endswith(".dir")
    landing(tmp_path, "two\n")
    assert versioning.add_landings(tmp_path, ["wiki"]) != first


def test_a_lock_left_by_a_killed_dvc_is_dropped_and_a_living_one_kept(tmp_path: Path) -> None:
    landing(tmp_path, "one\n")
    versioning.add_landings(tmp_path, ["wiki"])
    lock = tmp_path / ".dvc" / "tmp" / "rwlock"
    dead = {str(tmp_path / "data"): {"write": {"pid": 2**22 + 1, "cmd": "dvc repro"}}}
    lock.write_text(json.dumps(dead), encoding="utf-8")
    versioning.add_landings(tmp_path, ["wiki"])
    assert "dvc repro" not in (lock.read_text(encoding="utf-8") if lock.exists() else "")
