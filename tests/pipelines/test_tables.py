"""What a person reads at the end."""

from rich.console import Console, RenderableType

from pipelines.edge.outcome import Outcome, TaskRow
from pipelines.tables import outcome_table, preview_table, status_table
from steps.core.artifacts import Comparison


def text(shown: RenderableType) -> str:
    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(shown)
    return captured.get()


def test_the_end_of_a_refresh_says_what_changed_and_why() -> None:
    row = TaskRow(
        task="wiki",
        role="train",
        before=3.0,
        after=2.5,
        change=-0.5,
        low=-0.6,
        high=-0.4,
        num_items=100,
        planned_tokens=700,
        achieved_tokens=700,
        landed=1234,
        kept=1200,
        held_out=30,
        dropped={"duplicate": 3},
        quarantined={"not-json": 1},
    )
    shown = text(
        outcome_table(Outcome(kind="accepted", version="7", reasons=("better",), rows=(row,)), {"look": "here"})
    )
    for word in ("ACCEPTED: version 7", "-0.500 [-0.600, -0.400]", "1,234", "3 duplicate", "1 not-json", "look: here"):
        assert word in shown, word


def test_the_share_of_replay_is_told_beside_its_plan() -> None:
    rows = [
        TaskRow(task="new", role="train", planned_tokens=50, achieved_tokens=50),
        TaskRow(task="old", role="train", planned_tokens=50, achieved_tokens=50, planned_replay=30, achieved_replay=30),
    ]
    assert "30.0% replayed (planned 30.0%)" in text(outcome_table(Outcome(kind="rejected", rows=tuple(rows)), {}))


def test_the_end_of_a_refresh_shows_what_the_gate_asked() -> None:
    asked = Comparison(
        task="facts",
        scope="suite",
        against="champion",
        kind="non-inferiority",
        outcome="undecided",
        unit="points",
        change=2.0,
        low=-1.0,
        high=5.0,
        margin=4.0,
        p_value=0.1,
        power=0.5,
        num_items=200,
        num_documents=200,
        more_items=120,
        reason="because",
    )
    shown = text(outcome_table(Outcome(kind="undecided", version="7", comparisons=(asked,)), {}))
    for word in ("What the gate asked", "facts (suite)", "+2.0 [-1.0, +5.0] points", "0.50", "undecided, 120 more"):
        assert word in shown, shown


def test_nothing_new_is_one_panel() -> None:
    shown = text(outcome_table(Outcome(kind="unchanged", version="base", reasons=("nothing new",)), {}))
    assert "UNCHANGED: the base model" in shown
    assert "Hold-out" not in shown


def test_a_status_and_a_preview_name_what_waits() -> None:
    task = {"role": "train", "landed": 2, "consumed": 1, "pending": ["0002-b"], "aside": {}}
    failed = {"time": "2026-01-01T00:00:00+00:00", "verdict": "failed", "version": None, "cause": "schedule:nightly"}
    state = {
        "workspace": "w",
        "champion": None,
        "running": {"stage": "train"},
        "tasks": {"wiki": task},
        "versions": [],
        "backlog": {"wiki": {"documents": 1234, "tokens": 56789}},
        "last": [{**failed, "device_seconds": None, "tokens": None, "why": "ValueError: broken"}],
        "held": [{"task": "wiki", "batch": "0001-a", "state": "held", "why": "3 failed attempts"}],
        "schedules": {"nightly": "paused"},
        "next": None,
        "health": {"mlflow": "ok", "prefect": "no answer from http://there"},
    }
    shown = text(status_table(state))
    for told in (
        "in train",
        "0002-b",
        "1,234",
        "56,789",
        "schedule:nightly",
        "ValueError: broken",
        "3 failed attempts",
    ):
        assert told in shown
    for told in ("nightly (paused)", "mlflow ok", "prefect: no answer from http://there"):
        assert told in shown
    keys = ("bytes_read", "train_tokens", "judged_tokens", "minutes", "memory_gigabytes", "disk_gigabytes")
    found = {"parent": "base", "batches": {}, "device": "cpu", "starts": False, **dict.fromkeys(keys, 1)}
    assert "nothing new to train on" in text(preview_table(found))
