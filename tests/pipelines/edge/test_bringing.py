"""A version is rebuilt in a clean clone: what it was made from comes from the DVC remote, by its hashes."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines.edge import versioning
from pipelines.edge.bringing import ancestors, bring_inputs
from pipelines.edge.facts import read_inputs
from pipelines.edge.home import Home
from pipelines.edge.operations import reproduce
from pipelines.edge.registry import WEIGHTS, Registry
from steps.core.models import digest_of_model
from tests.pipelines.edge.forget.lines import line
from tests.workspaces import land_rows, rows, run, workspace


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def test_ancestors_are_told_from_the_parent_on(tmp_path: Path) -> None:
    registry = Registry(line(tmp_path))
    assert [each.number for each in ancestors(registry, registry.get("2"))] == ["1"]
    assert list(ancestors(registry, registry.get("1"))) == []


def test_a_landing_that_is_gone_comes_back_with_its_manifest(tmp_path: Path) -> None:
    home = line(tmp_path)
    registry = Registry(home)
    version = registry.get("1")
    inputs = read_inputs(registry, version)
    assert inputs is not None
    bring_inputs(home, registry, version, inputs)  # all is here: nothing is asked of the remote
    for batch in inputs.landed["types"].batches:
        shutil.rmtree(home.root / batch.path, ignore_errors=True)
    shutil.rmtree(home.root / ".dvc/cache")
    bring_inputs(home, registry, version, inputs)
    assert all((home.root / batch.path / "manifest.json").exists() for batch in inputs.landed["types"].batches)


def test_state_that_no_run_names_is_told_of(tmp_path: Path) -> None:
    home = line(tmp_path)
    registry = Registry(home)
    version = registry.get("2")
    inputs = read_inputs(registry, version)
    assert inputs is not None
    shutil.rmtree(home.root / inputs.parent.buffer.segments[0].path)
    with pytest.raises(ValueError, match=r"data/state/.*neither here nor named by the run of a version before 2"):
        bring_inputs(home, registry, version, inputs)


@pytest.mark.pipeline
@pytest.mark.timeout(600)
def test_a_clean_clone_rebuilds_a_version_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "line").mkdir()
    git(tmp_path / "line", "init", "-q")
    home = workspace(tmp_path / "line", documents=60)
    assert run(home).kind == "accepted"
    land_rows(home, "types", rows("types", 60, 60))
    assert run(home).kind == "accepted"
    git(home.root, "add", "-A")
    git(home.root, "commit", "-qm", "a line")
    git(tmp_path, "clone", "-q", str(home.root), "clone")
    clone = Home(tmp_path / "clone")
    assert not list((clone.root / "data/landing").glob("*/*/manifest.json"))
    assert not (clone.root / "data/state").exists()

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home.hidden}/mlflow.db")
    with pytest.raises(ValueError, match=r"DVC remote .*dvc remote add --default --force NAME ADDRESS"):
        reproduce(clone, "2")

    with versioning.repository(clone.root) as repo, repo.config.edit() as config:
        config["remote"]["shared"] = {"url": str(home.hidden / "dvc-remote")}
        config["core"]["remote"] = "shared"
    found = reproduce(clone, "2")
    assert found.identical, found
    assert all(found.stages.values())
    parent = Registry(clone).folder("1") / WEIGHTS
    assert parent.is_relative_to(clone.root)
    assert digest_of_model(parent) == Registry(home).get("1").tags["perennial.weights"]
