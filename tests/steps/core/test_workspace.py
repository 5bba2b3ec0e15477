"""A step's view of the world ends at its workspace."""

from pathlib import Path

import pytest

from steps.core.workspace import Workspace


@pytest.mark.parametrize("path", ["../secret", "data/../../secret", "/etc/passwd"])
def test_no_path_leaves_the_workspace(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="leaves the workspace"):
        Workspace(root=tmp_path, path=tmp_path, seed=0).at(path)


def test_a_link_out_of_the_workspace_is_no_way_out(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="leaves the workspace"):
        Workspace(root=tmp_path / "inside", path=tmp_path, seed=0).at("link/x")


def test_paths_in_artifacts_are_relative(tmp_path: Path) -> None:
    workspace = Workspace(root=tmp_path, path=tmp_path / "data", seed=0)
    assert workspace.relative(tmp_path / "data" / "mix") == "data/mix"
