import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.edge.home import Home
from pipelines.service.messages import MAX_BYTES, identity, message, prefect_events, word

ROW = {
    "task": "types",
    "before": 3.25,
    "after": 3.0,
    "change": -0.25,
    "low": -0.3,
    "high": -0.2,
    "achieved_tokens": 5600,
}
EVENT: dict[str, Any] = {
    "event": "verdict",
    "time": "2026-01-01T00:00:00+00:00",
    "who": "ana",
    "attempt": "abcdef0123456789",
    "verdict": "rejected",
    "version": "3",
    "parent": "2",
    "reasons": ["general: loss changed by +0.3"],
    "outcome": {"rows": [ROW], "run_id": "run7"},
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "perennial.yaml").write_text("name: lamp\n", encoding="utf-8")
    return Home(tmp_path)


def test_a_verdict_is_told_with_its_reasons_and_the_runs_table(home: Home) -> None:
    said = message(home, EVENT)
    assert said.subject == "lamp: version 3 was rejected"
    assert "- general: loss changed by +0.3" in said.body
    assert "| types | 3.250  | 3.000 | -0.250 [-0.300, -0.200] | 5,600  |" in said.body
    assert "Made from 2, attempt abcdef01." in said.body


def test_a_table_is_not_drawn_where_a_crash_left_no_outcome(home: Home) -> None:
    assert "|" not in message(home, {**EVENT, "outcome": None}).body


@pytest.mark.parametrize(
    ("verdict", "reason", "command"),
    [
        ("accepted", "a gain", "perennial rollback"),
        ("undecided", "awaiting approval", "perennial promote 3"),
        ("undecided", "champion moved during the run: from 2 to 4", "perennial refresh"),
    ],
)
def test_a_verdict_names_the_next_command(home: Home, verdict: str, reason: str, command: str) -> None:
    said = message(home, {**EVENT, "verdict": verdict, "reasons": [reason]})
    assert f"`{command}" in said.body.splitlines()[-1]


def test_a_failure_a_held_batch_and_a_late_refresh_have_words_of_their_own(home: Home) -> None:
    failed = {"event": "failed", "kind": "data", "error": "ValueError: torn", "blamed": {"types": ["0001-aa"]}}
    assert message(home, failed).subject == "lamp: a refresh failed (data)"
    assert "- blamed: types: 0001-aa" in message(home, failed).body
    held = {"event": "hold", "task": "types", "batch": "0001-aa", "why": "3 failed attempts", "by_rule": True}
    assert "perennial release types 0001-aa" in message(home, held).body
    assert message(home, {"event": "stale", "days": 8.0, "since": "2026-01-01"}).subject.endswith("for 8 days")


def test_links_lead_to_the_servers_and_carry_no_password(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ana:hush@lamp:5000/")
    monkeypatch.setenv("PREFECT_API_URL", "http://lamp:4200/api")
    body = message(home, {**EVENT, "flow_run": "f1"}).body
    assert "http://lamp:5000/#/runs/run7" in body
    assert "http://lamp:4200/runs/flow-run/f1" in body
    assert "hush" not in body


def test_what_a_person_did_by_hand_needs_no_telling() -> None:
    assert word({"event": "hold", "task": "types", "batch": "0001-aa", "why": "typos"}) is None
    assert word({"event": "alias", "alias": "candidate"}) is None
    assert word({"event": "alias", "alias": "champion"}) == "moved"


def test_prefects_event_says_what_data_what_version_and_why(home: Home) -> None:
    (event,) = prefect_events(home, EVENT, [])
    assert event["event"] == "perennial.refresh.rejected"
    assert event["resource"]["prefect.resource.id"] == "perennial.lamp"
    assert event["occurred"] == EVENT["time"]
    wanted = {"workspace": "lamp", "attempt": EVENT["attempt"], "version": "3", "parent": "2", "rows": [ROW]}
    assert wanted.items() <= event["payload"].items()
    assert event["payload"]["reasons"] == EVENT["reasons"]


def test_the_same_event_has_the_same_id_however_often_it_is_told(home: Home) -> None:
    first, again = (next(prefect_events(home, EVENT, [])) for _ in range(2))
    other = next(prefect_events(home, {**EVENT, "attempt": "b" * 16}, []))
    assert first["id"] == again["id"] != other["id"]
    assert identity(EVENT) != identity({**EVENT, "time": "2026-01-02T00:00:00+00:00"})


def test_a_long_table_loses_rows_and_says_how_many(home: Home) -> None:
    many = {**EVENT, "outcome": {"rows": [{**ROW, "task": "t" * 500}] * 400, "run_id": "r"}}
    (event,) = prefect_events(home, many, [])
    assert len(json.dumps(event["payload"]).encode()) < MAX_BYTES + 5_000
    assert len(event["payload"]["rows"]) + event["payload"]["rows_left_out"] == 400
