"""Verbs on the line of versions."""

import json
from pathlib import Path

import pytest
import yaml

from tests.command_line import call, perennial


def test_a_batch_is_held_released_and_discarded(tmp_path: Path) -> None:
    where = ("-w", str(tmp_path / "w"))
    call("init", str(tmp_path / "w"))
    page = tmp_path / "page.jsonl"
    page.write_text('{"key": "a", "text": "one"}\n', encoding="utf-8")
    call(*where, "land", "python-docs", str(page))
    assert "held" in call(*where, "hold", "python-docs", "0001", "--why", "a look first")[1]
    assert "released" in call(*where, "release", "python-docs", "0001", "--why", "fine")[1]
    assert "discarded" in call(*where, "discard", "python-docs", "0001", "--why", "spam")[1]
    assert perennial(*where, "hold", "python-docs", "0009", "--why", "x").returncode == 1
    assert call(*where, "hold", "python-docs", "0001")[0] == 2, "a reason is required"


@pytest.mark.pipeline
def test_refresh_from_the_shell_tells_its_verdict_and_does_not_repeat_it(tmp_path: Path) -> None:
    from tests.workspaces import NO_REPLAY, land_rows, rows, tiny, workspace

    home = workspace(tmp_path, documents=60)
    where = ("-w", str(home.root))
    dry = perennial(*where, "refresh", "tiny", "--dry-run", "--json")
    assert json.loads(dry.stdout)["batches"]["types"], dry.stderr
    ran = perennial(*where, "refresh", "tiny", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["kind"] == "accepted"
    again = perennial(*where, "refresh", "tiny", "--json")
    assert (again.returncode, json.loads(again.stdout)["kind"]) == (0, "unchanged")
    assert json.loads(perennial(*where, "status", "--json").stdout)["champion"] == "1"
    assert perennial(*where, "doctor", "--json").returncode == 0

    land_rows(home, "types", rows("types", 60, 60))
    harsh = tmp_path / "harsh.yaml"
    harsh.write_text(yaml.safe_dump(tiny(train={"learning_rate": 0.5}, plan=NO_REPLAY).dump()))
    assert perennial(*where, "refresh", str(harsh), "--json").returncode == 10
    repeated = perennial(*where, "refresh", str(harsh))
    assert repeated.returncode == 10
    assert "REJECTED" in repeated.stdout
    assert "judged before" in repeated.stderr
    assert json.loads(perennial(*where, "status", "--json").stdout)["champion"] == "1"
