"""The registry: where a version lies, and what is said of one that does not exist."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from pipelines.edge.conclude import SERVED
from pipelines.edge.home import Home
from pipelines.edge.registry import STATE, Registry, base_version, link, on_this_machine, stage_folder, use_tracking
from steps.core.artifacts import History, MatrixRow, Model, TrainingState, Version
from steps.core.models import digest_of_model
from steps.core.training_state import EMPTY, check_state, digest_of_state
from tests.tiny_models import tiny_model, tiny_workspace

ONE_ROW = History(digest="h", rows=(MatrixRow(version="attempt", losses={}),))


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("sqlite:////a/mlflow.db", True),
        ("http://127.0.0.1:5000", True),
        ("http://localhost:5000", True),
        ("https://[::1]:5000", True),
        ("https://mlflow.example", False),
        ("http://127.0.0.1.example:5000", False),
        ("postgresql://127.0.0.1/mlflow", False),
    ],
)
def test_artifacts_lie_in_the_workspace_where_the_server_is_on_this_machine(address: str, here: bool) -> None:
    assert on_this_machine(address) == here


def test_a_server_that_asks_for_a_name_keeps_its_own_artifacts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "worker")
    assert not on_this_machine("https://127.0.0.1:8443")


def test_an_empty_registry_has_no_champion_and_names_what_exists(tmp_path: Path) -> None:
    registry = Registry(Home(tmp_path))
    assert registry.champion() is None
    with pytest.raises(ValueError, match="no version 3; there are: none yet"):
        registry.get("3")


def test_before_the_first_refresh_all_state_is_empty_and_the_base_is_pinned() -> None:
    model = Model(digest="d", path="m", num_parameters=1)
    version = base_version(model)
    assert (version.name, version.references, version.consumed) == ("base", (model,), {})
    assert version.buffer.segments == version.index.segments == version.holdout.segments == ()


def test_a_link_takes_no_room_and_replaces_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("new")
    (tmp_path / "b").write_text("old")
    link(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").stat().st_ino == (tmp_path / "b").stat().st_ino


def test_two_workspaces_in_one_process_keep_to_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    first, second = use_tracking(Home(tmp_path / "a")), use_tracking(Home(tmp_path / "b"))
    assert first.endswith("a/.perennial/mlflow.db")
    assert second.endswith("b/.perennial/mlflow.db")


def test_a_version_takes_its_training_state_along_and_finds_it_where_it_lies(tmp_path: Path) -> None:
    home = Home(tmp_path / "w")
    made = tmp_path / "w/data"
    tiny_model(made / "model")
    tiny_model(made / "state/plateau", seed=1)
    state = TrainingState(digest=digest_of_state(made / "state"), path="data/state")
    version = base_version(Model(digest="d", path="data/model", num_parameters=1))
    version = version.model_copy(update={"training_state": state, "history": ONE_ROW})
    staging = tmp_path / "w/.perennial/staging"
    stage_folder(staging, made / "model", None, made / "state", version, SERVED)
    for name in ("model.safetensors", "config.json"):
        assert (staging / STATE / "plateau" / name).stat().st_ino == (made / "state/plateau" / name).stat().st_ino
    stored = Version.model_validate_json((staging / "version.json").read_text())
    placed = Registry(home).in_place(stored, "1", staging).training_state
    assert placed == state.model_copy(update={"path": ".perennial/staging/training_state"})
    check_state(tiny_workspace(home.root), placed)


def test_a_version_without_a_training_state_has_no_folder_for_it(tmp_path: Path) -> None:
    tiny_model(tmp_path / "w/data/model")
    version = base_version(Model(digest="d", path="data/model", num_parameters=1))
    version = version.model_copy(update={"history": ONE_ROW})
    stage_folder(tmp_path / "w/s", tmp_path / "w/data/model", None, None, version, SERVED)
    assert not (tmp_path / "w/s" / STATE).exists()
    assert Registry(Home(tmp_path / "w")).in_place(version, "1", tmp_path / "w/s").training_state == EMPTY


class Elsewhere(LocalArtifactRepository):
    """A store that is reached by MLflow's calls only, as one on another machine."""

    def __init__(self, artifact_uri: str, *others: Any, **more: Any) -> None:
        super().__init__(artifact_uri.replace("elsewhere:", "file:"), *others, **more)


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Registry, str, Path]:
    """A registry whose store is elsewhere, a run in it, and the folder behind the store."""
    import mlflow
    from mlflow.store.artifact import artifact_repository_registry as stores

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    known = stores._artifact_repository_registry._registry
    monkeypatch.setitem(known, "elsewhere", Elsewhere)
    registry = Registry(Home(tmp_path / "w"))
    experiment = mlflow.create_experiment(registry.name, artifact_location=f"elsewhere://{tmp_path}/store")
    return registry, registry.client.create_run(experiment).info.run_id, tmp_path / "store"


def test_a_training_state_comes_back_from_a_store_elsewhere_and_is_checked(far: tuple[Registry, str, Path]) -> None:
    registry, run, store = far
    made = registry.home.root / "data"
    tiny_model(made / "model")
    tiny_model(made / "state/plateau", seed=1)
    state = TrainingState(digest=digest_of_state(made / "state"), path="data/state")
    version = base_version(Model(digest=digest_of_model(made / "model"), path="data/model", num_parameters=1))
    version = version.model_copy(update={"training_state": state, "history": ONE_ROW})
    stage_folder(registry.home.hidden / "staging", made / "model", None, made / "state", version, SERVED)
    number = registry.register("attempt", run, registry.home.hidden / "staging", {})
    found = registry.version(number).training_state
    assert found.path == f"{registry.folder(number).relative_to(registry.home.root)}/training_state"
    check_state(tiny_workspace(registry.home.root), found)

    shutil.rmtree(registry.folder(number))
    (file,) = store.rglob("plateau/model.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RuntimeError, match="its training state should have the digest"):
        registry.version(number)

    assert registry.retire(number) > len(content)
    assert list(store.rglob("*.safetensors")) == []
