"""What the verbs share."""

from pathlib import Path

from tests.command_line import call


def test_a_folder_without_a_workspace_is_a_usage_error(tmp_path: Path) -> None:
    code, text = call("-w", str(tmp_path), "status")
    assert code == 2
    assert "perennial init" in text
