"""A new workspace is whole, and is never made over another."""

from pathlib import Path

import pytest

from pipelines.edge.home import Home
from pipelines.edge.landing import load_tasks
from pipelines.edge.workspaces import FILES, make_workspace


def test_a_new_workspace_has_every_file_and_its_own_name(tmp_path: Path) -> None:
    told = list(make_workspace(tmp_path / "My Docs"))
    assert all((tmp_path / "My Docs" / name).exists() for name in FILES)
    assert Home(tmp_path / "My Docs").settings.name == "my-docs"
    assert load_tasks(tmp_path / "My Docs")
    assert any("refresh --dry-run" in line for line in told)


@pytest.mark.parametrize("name", ["2026", "true", "1e3"])
def test_a_folder_may_be_called_as_a_number_is_written(tmp_path: Path, name: str) -> None:
    list(make_workspace(tmp_path / name))
    assert Home(tmp_path / name).settings.name == name


def test_a_workspace_is_not_made_over_another(tmp_path: Path) -> None:
    list(make_workspace(tmp_path))
    tasks = tmp_path / "data" / "tasks.yaml"
    tasks.write_text("tasks: {mine: {}}\n")
    with pytest.raises(ValueError, match="nothing was changed"):
        list(make_workspace(tmp_path))
    assert tasks.read_text() == "tasks: {mine: {}}\n"
