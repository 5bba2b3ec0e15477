"""A batch that differs too much from the last accepted refresh is held; the other tasks go on; a person decides."""

import json
from pathlib import Path

import pytest

from pipelines.edge.attempts import run_refresh
from pipelines.edge.home import Home
from pipelines.edge.operations import set_aside
from pipelines.edge.outcome import Outcome
from pipelines.edge.registry import Registry, experiment_id
from steps.core.shards import read_lines
from tests.command_line import call
from tests.workspaces import land_rows, rows, tiny, workspace

pytestmark = pytest.mark.pipeline
LENIENT = {"superiority": "not-required", "margin_nats": 5.0}


def refreshed(home: Home) -> Outcome:
    return run_refresh(home, tiny(gate=LENIENT), prefect=False)


def shortened(task: str, first: int, count: int) -> list[dict[str, str]]:
    return [{"key": row["key"], "text": row["text"][: len(row["text"]) // 10]} for row in rows(task, first, count)]


def report_of(home: Home, attempt: str) -> str:
    from mlflow.artifacts import load_text

    tagged = f"tags.`perennial.attempt` = '{attempt}'"
    (found,) = Registry(home).client.search_runs([experiment_id(home)], filter_string=tagged)
    return str(load_text(f"{found.info.artifact_uri}/clean/clean.html"))


def test_a_batch_ten_times_too_short_is_held_with_its_report_until_a_person_lets_it_pass(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=60)
    assert refreshed(home).kind == "accepted"
    short = land_rows(home, "types", shortened("types", 60, 60))
    land_rows(home, "statements", rows("statements", 60, 60))

    outcome = refreshed(home)
    assert outcome.kind == "accepted", outcome.reasons
    assert any(reason.startswith("types is held: length: the median document has") for reason in outcome.reasons)
    (row,) = [row for row in outcome.rows if row.task == "types"]
    assert row.held
    assert row.kept == row.held_out == 0
    version = Registry(home).version("2")
    assert short not in version.consumed["types"]
    assert len(version.consumed["statements"]) == 2
    page = report_of(home, outcome.attempt)
    assert "length: the median document has" in page
    assert "Below is what would have become of it" in page
    assert "length ratio" in page

    code, text = call("-w", str(home.root), "status", "--json")
    assert code == 0
    (held,) = json.loads(text)["held"]
    assert (held["task"], held["batch"], held["state"]) == ("types", short, "held")
    assert held["why"].startswith("length: ")

    set_aside(home, "release", "types", short, "these are glossary entries")
    outcome = refreshed(home)
    assert outcome.kind == "accepted", outcome.reasons
    assert short in Registry(home).version("3").consumed["types"]
    assert list(read_lines(home.root / "data/clean/types/documents.jsonl"))


def test_where_all_that_would_be_trained_on_is_held_nothing_is_trained_and_the_attempt_has_its_end(
    tmp_path: Path,
) -> None:
    home = workspace(tmp_path, documents=60)
    assert refreshed(home).kind == "accepted"
    short = land_rows(home, "types", shortened("types", 60, 60))
    outcome = refreshed(home)
    assert outcome.kind == "unchanged"
    assert home.held() == {("types", short): "held"}
    last = home.ledger()[-1]
    assert (last["event"], last["by_hand"]) == ("stopped", False)
    assert "held: length" in last["error"]
    assert "Below is what would have become of it" in report_of(home, last["attempt"])
    assert refreshed(home).reasons == ("nothing new has landed since the last accepted refresh",)
    assert [event for event in home.ledger() if event["event"] == "failed"] == [], "nobody is blamed"
