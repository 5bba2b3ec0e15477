"""The verbs on the gate."""

import json
from pathlib import Path

from tests.command_line import call
from tests.workspaces import workspace


def test_the_power_of_a_recipe_is_a_table_or_one_json_object(tmp_path: Path) -> None:
    workspace(tmp_path)
    code, shown = call("--workspace", str(tmp_path), "gate-power", "tiny")
    assert code == 0, shown
    assert "margin 0.1 nats/token" in shown
    code, shown = call("--workspace", str(tmp_path), "gate-power", "tiny", "--json")
    assert json.loads(shown)["margin_nats"] == 0.1
