"""The registry: where a version lies, and what is said of one that does not exist."""

from pathlib import Path

import pytest

from pipelines.edge.home import Home
from pipelines.edge.registry import Registry, base_version, link, on_this_machine, use_tracking
from steps.core.artifacts import Model


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
