"""The doctor finds what is wrong, and says what to do."""

from pathlib import Path

import pytest

from pipelines.edge import doctor
from pipelines.edge.doctor import examine
from tests.workspaces import workspace


def test_a_healthy_workspace_passes_what_the_workspace_decides(tmp_path: Path) -> None:
    found = {check.name: check for check in examine(workspace(tmp_path, documents=3))}
    assert all(found[name].good for name in ("Python", "fastapi", "sqlalchemy", "perennial.yaml", "tasks"))


def test_a_version_that_breaks_prefect_silently_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "version", {"fastapi": "0.165.0", "sqlalchemy": "2.1.9"}.__getitem__)
    found = {check.name: check for check in examine(workspace(tmp_path, documents=3))}
    assert not found["fastapi"].good
    assert not found["sqlalchemy"].good
    assert "never create a run" in found["sqlalchemy"].advice


def test_broken_settings_are_found(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=3)
    (home.root / "perennial.yaml").write_text("nmae: x\n")
    with pytest.raises(ValueError, match="nmae"):
        _ = home.settings
    assert not next(check for check in examine(home) if check.name == "perennial.yaml").good
