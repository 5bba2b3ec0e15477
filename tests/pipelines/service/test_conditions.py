"""When what waits starts a refresh: worked examples, each condition at its limit."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.edge.settings import Budget, Settings
from pipelines.service.conditions import Spent, Waiting, decide, over_budget, pause_left, spent

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOTHING = Spent(runs=0, device_hours=0.0)


def batch(task: str = "docs", documents: int = 10, age: float = 100.0, trains: bool = True) -> Waiting:
    name = f"{documents:04d}-aaaaaaaa"
    return Waiting(task=task, batch=name, trains=trains, documents=documents, tokens=100 * documents, age_seconds=age)


def settings(**trigger: Any) -> Settings:
    return Settings.model_validate({"triggers": {"*": {"quiet": 30, **trigger}}})


def test_nothing_waits() -> None:
    assert not decide([], settings(), NOTHING).start
    assert not decide([batch(trains=False)], settings(), NOTHING).start, "general text alone starts nothing"


def test_a_task_without_a_trigger_starts_nothing() -> None:
    assert not decide([batch()], Settings(), NOTHING).start


@pytest.mark.parametrize(
    ("trigger", "starts"),
    [
        ({"documents": 20}, True),
        ({"documents": 21}, False),
        ({"documents": None, "tokens": 2000}, True),
        ({"documents": None, "tokens": 2001}, False),
        ({"documents": 1000, "oldest": 100}, True),
        ({"documents": 1000, "oldest": 101}, False),
        ({"quiet": 90}, True),
        ({"quiet": 91}, False),
    ],
)
def test_each_condition_at_its_limit(trigger: dict[str, Any], starts: bool) -> None:
    assert decide([batch(age=100.0), batch(age=90.0)], settings(**trigger), NOTHING).start is starts


def test_it_says_when_to_ask_again() -> None:
    assert decide([batch(age=10.0)], settings(), NOTHING).ask_again_in == 20.0
    waiting = decide([batch(age=100.0)], settings(documents=1000, oldest="1h"), NOTHING)
    assert waiting.ask_again_in == 3500.0
    assert decide([batch()], settings(documents=1000), NOTHING).ask_again_in is None, "more must land first"


def test_a_batch_in_its_review_window_does_not_count() -> None:
    reviewed = settings(review="1h", documents=15)
    assert decide([batch(age=10.0)], reviewed, NOTHING).ask_again_in == 3590.0
    assert not decide([batch(age=4000.0), batch(age=50.0)], reviewed, NOTHING).start
    assert decide([batch(age=4000.0), batch(age=3600.0)], reviewed, NOTHING).start


def test_one_task_that_is_due_is_enough() -> None:
    limits = Settings.model_validate({"triggers": {"docs": {"documents": 1}, "wiki": {"documents": 1000}}})
    assert decide([batch("wiki"), batch("docs")], limits, NOTHING).start


def test_what_was_judged_or_failed_just_now_or_costs_too_much_does_not_start() -> None:
    assert decide([batch()], settings(), NOTHING, known="judged before").why == "judged before"
    assert decide([batch()], settings(), NOTHING, pause_seconds=7.0).ask_again_in == 7.0
    limited = Settings.model_validate({"triggers": {"*": {}}, "budget": {"runs": 2}})
    assert decide([batch()], limited, Spent(runs=1, device_hours=0.0)).start
    assert "2 of 2 refreshes" in decide([batch()], limited, Spent(runs=2, device_hours=0.0)).why


def line(event: str, hours_ago: float = 0.0, **facts: Any) -> dict[str, Any]:
    return {"event": event, "time": (NOW - timedelta(hours=hours_ago)).isoformat(), **facts}


def test_the_budget_counts_the_last_day_and_no_refresh_by_hand() -> None:
    ledger = [
        line("attempt", 25, attempt="old", cause="landing"),
        line("verdict", 23.5, attempt="old", outcome={"device_seconds": 1800.0}),
        line("attempt", 5, attempt="a", cause="schedule:nightly"),
        line("failed", 4, attempt="a", seconds=1800.0),
        line("attempt", 3, attempt="b", cause="by hand"),
        line("verdict", 2, attempt="b", outcome={"device_seconds": 9999.0}),
    ]
    assert spent(ledger, NOW) == Spent(runs=1, device_hours=1.0)
    assert over_budget(Spent(runs=1, device_hours=1.0), Budget(device_hours=1.0))
    assert not over_budget(Spent(runs=1, device_hours=0.99), Budget(device_hours=1.0))
    assert spent(ledger, NOW - timedelta(days=3)).runs == 2, "a clock that was set back forgets nothing"


def test_the_pause_doubles_with_each_failure_in_a_row_up_to_an_hour() -> None:
    minute = timedelta(minutes=1)
    assert pause_left([], minute, NOW) == 0.0
    assert pause_left([line("failed")], minute, NOW) == 60.0
    assert pause_left([line("failed")] * 3, minute, NOW) == 240.0
    assert pause_left([line("failed")] * 30, minute, NOW) == 3600.0
    assert pause_left([line("failed"), line("verdict")], minute, NOW) == 0.0
    assert pause_left([line("failed", hours_ago=0.5)], minute, NOW) == 0.0
    assert pause_left([line("failed")], minute, NOW - timedelta(days=1)) == 60.0, "a clock that was set back"
