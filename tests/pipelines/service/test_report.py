"""The state of a workspace in one value."""

import json
from pathlib import Path

import yaml

from pipelines.edge.home import Home
from pipelines.service.report import last_refreshes, report
from tests.workspaces import workspace


def test_a_workspace_that_was_never_refreshed(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=20)
    content = {"schedules": {"nightly": {"cron": "0 2 * * *"}}}
    (home.root / "perennial.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    found = json.loads(json.dumps(report(home)))
    assert (found["champion"], found["running"], found["last"], found["held"]) == (None, None, [], [])
    assert found["backlog"]["types"]["documents"] == 20
    assert found["schedules"] == {"nightly": "not served"}
    assert found["health"]["service"].startswith("not up")


def test_what_is_held_says_why(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=20)
    batch = report(home)["tasks"]["types"]["pending"][0]
    home.record("failed", attempt="a", kind="data", blamed={"types": [batch]}, error="broken", seconds=1.0)
    assert report(home)["health"][f"batch types/{batch}"] == "in 1 failed attempts"
    home.record("hold", task="types", batch=batch, why="a look first")
    found = report(home)
    assert [(one["batch"], one["state"], one["why"]) for one in found["held"]] == [(batch, "held", "a look first")]
    assert "types" not in found["backlog"]


def test_the_last_refreshes_with_their_cause_and_cost(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.record("attempt", attempt="a", cause="schedule:nightly", batches={})
    home.record("failed", attempt="a", kind="data", blamed={}, error="ValueError: broken", seconds=3.0)
    home.record("attempt", attempt="b", cause="landing", batches={})
    outcome = {"seconds": 20.0, "device_seconds": 12.0, "tokens": 8000}
    facts = {"verdict": "accepted", "version": "1", "parent": "base", "reasons": ["better"], "outcome": outcome}
    home.record("verdict", attempt="b", **facts)
    newest, oldest = last_refreshes(home.ledger())
    assert (newest["verdict"], newest["cause"], newest["device_seconds"], newest["tokens"]) == (
        "accepted",
        "landing",
        12.0,
        8000,
    )
    assert (oldest["verdict"], oldest["why"], oldest["seconds"]) == ("failed", "ValueError: broken", 3.0)
