"""DVC: landings and stages, pushed to the local remote, brought back."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines.edge import versioning
from pipelines.edge.versioning import Wanted
from pipelines.edge.workspaces import IGNORED


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


def in_git(root: Path) -> Path:
    """A workspace that Git keeps, as `perennial init` makes it."""
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    (root / ".gitignore").write_text(IGNORED, encoding="utf-8")
    return root


def test_landings_of_a_workspace_that_git_keeps_are_pushed_and_found_by_their_hash_elsewhere(tmp_path: Path) -> None:
    here, there = in_git(tmp_path / "here"), in_git(tmp_path / "there")
    landing(here, "one\n")
    md5 = versioning.add_landings(here, ["wiki"])["wiki"]
    versioning.commit_stages(here)
    with versioning.repository(there) as repo, repo.config.edit() as config:
        config["remote"]["local"]["url"] = str(here / ".perennial" / "dvc-remote")
    target = there / "data/landing/wiki/0001-a"
    versioning.bring(there, [Wanted(md5, "0001-a", target)])
    assert [path.name for path in target.iterdir()] == ["rows.jsonl"]
    assert (target / "rows.jsonl").read_text(encoding="utf-8") == "one\n"
    (target / "rows.jsonl").write_text("mine\n", encoding="utf-8")
    versioning.bring(there, [Wanted(md5, "0001-a", target)])
    assert (target / "rows.jsonl").read_text(encoding="utf-8") == "mine\n", "what is there stays"


def test_what_no_remote_has_is_answered_with_the_remote_and_what_to_do(tmp_path: Path) -> None:
    landing(tmp_path, "one\n")
    versioning.add_landings(tmp_path, ["wiki"])
    wanted = Wanted("0" * 32 + ".dir", "", tmp_path / "out")
    with pytest.raises(ValueError, match=r"DVC remote \(local: .*dvc-remote\) .*; name the one .*dvc remote add"):
        versioning.bring(tmp_path, [wanted])
    assert not (tmp_path / "out").exists()


def test_a_lock_left_by_a_killed_dvc_is_dropped_and_a_living_one_kept(tmp_path: Path) -> None:
    landing(tmp_path, "one\n")
    versioning.add_landings(tmp_path, ["wiki"])
    lock = tmp_path / ".dvc" / "tmp" / "rwlock"
    dead = {str(tmp_path / "data"): {"write": {"pid": 2**22 + 1, "cmd": "dvc repro"}}}
    lock.write_text(json.dumps(dead), encoding="utf-8")
    versioning.add_landings(tmp_path, ["wiki"])
    assert "dvc repro" not in (lock.read_text(encoding="utf-8") if lock.exists() else "")
