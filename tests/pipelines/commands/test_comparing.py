"""The verb that compares two versions."""

import json
from pathlib import Path

from tests.command_line import call
from tests.workspaces import workspace


def test_what_changed_is_told_as_a_page_and_as_json(tmp_path: Path) -> None:
    home = workspace(tmp_path / "mine", documents=2)
    where = ("-w", str(home.root), "compare", "base", "base", "--recipe", "tiny")
    code, text = call(*where)
    assert code == 0, text
    assert "weights: none changed" in text
    assert "only weights were compared" in text
    code, text = call(*where, "--json")
    assert code == 0, text
    assert json.loads(text)["changes"]["whole"]["norm"] == 0.0


def test_it_explains_itself_by_example() -> None:
    code, text = call("compare", "--help")
    assert code == 0
    assert "perennial compare base champion" in text
