"""Attempts: what takes part, what a failure is blamed on, what is held, and that nothing judged is repeated."""

import errno
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from pipelines.edge import attempts
from pipelines.edge.attempts import failures, hold_failing, kind_of, ready, run_refresh, running, unended
from pipelines.edge.home import Home
from pipelines.edge.lineage import base_of
from pipelines.edge.session import pending
from steps.core.artifacts import Landed
from tests.workspaces import NO_REPLAY, NOW, land_rows, rows, tiny, workspace


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return workspace(tmp_path, documents=20)


def waiting(home: Home) -> dict[str, Landed]:
    return pending(home, base_of(home, "tiny:"))


def fail(home: Home, **blamed: list[str]) -> None:
    home.record("failed", attempt="a", kind="data", blamed=blamed, error="ValueError: broken", seconds=1.0)


def test_what_never_failed_goes_together(home: Home) -> None:
    assert list(ready(home, waiting(home), NOW + timedelta(hours=1))) == ["statements", "types", "general"]


def test_what_failed_goes_apart_until_it_is_held_and_the_other_tasks_go_on(home: Home) -> None:
    found = waiting(home)
    names = {task: [batch.name for batch in part.batches] for task, part in found.items()}
    later = NOW + timedelta(hours=1)
    fail(home, statements=names["statements"], types=names["types"])
    assert list(ready(home, found, later)) == ["statements", "general"], "the first of those that failed least, alone"
    fail(home, statements=names["statements"])
    assert list(ready(home, found, later)) == ["types", "general"], "the other task has its turn"
    fail(home, statements=names["statements"])
    hold_failing(home)
    assert home.held() == {("statements", names["statements"][0]): "held"}
    assert list(waiting(home)) == ["types", "general"]
    told = [event for event in home.ledger() if event["event"] == "hold"]
    assert "3 failed attempts" in told[0]["why"]
    assert "ValueError: broken" in told[0]["why"]


def test_what_died_goes_on_as_it_was_until_one_more_death_would_hold_it(home: Home) -> None:
    found = waiting(home)
    names = {task: [batch.name for batch in part.batches] for task, part in found.items()}
    later = NOW + timedelta(hours=1)
    home.record("failed", attempt="a", kind="died", blamed=names, error="its process died", seconds=1.0)
    assert list(ready(home, found, later)) == ["statements", "types", "general"], "from its checkpoints"
    home.record("failed", attempt="a", kind="died", blamed=names, error="its process died", seconds=1.0)
    assert list(ready(home, found, later)) == ["statements"], "alone, so that the innocent are not held"


@pytest.mark.parametrize("content", ["", "[]", "7", "{}", '{"pid": "x"', '{"pid": 1}'])
def test_a_damaged_note_of_who_runs_says_that_nobody_does(home: Home, content: str) -> None:
    (home.hidden / "running.json").write_text(content, encoding="utf-8")
    assert running(home) is None
    home.record("attempt", attempt="a", cause="by hand", batches={"types": ["0001-b"]})
    attempts.bury(home)
    assert not unended(home.ledger())
    assert not (home.hidden / "running.json").exists()


def test_a_released_batch_starts_afresh(home: Home) -> None:
    name = waiting(home)["types"].batches[0].name
    for _ in range(3):
        fail(home, types=[name])
    hold_failing(home)
    home.record("release", task="types", batch=name, why="mended")
    assert not failures(home)
    hold_failing(home)
    assert not home.held()


def test_a_batch_in_its_review_window_waits(home: Home) -> None:
    content = {"triggers": {"types": {"review": "2h"}}}
    (home.root / "perennial.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    found = waiting(home)
    assert list(ready(home, found, NOW + timedelta(hours=1))) == ["statements", "general"]
    assert list(ready(home, found, NOW + timedelta(hours=2))) == ["statements", "types", "general"]
    assert list(ready(home, found, NOW - timedelta(days=1))) == ["statements", "general"], "a clock set back"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "disk full"), "environment"),
        (PermissionError(errno.EROFS, "read-only"), "environment"),
        (ConnectionRefusedError("no server"), "environment"),
        (ValueError("a document without end"), "data"),
        (RuntimeError("CUDA out of memory"), "data"),
        (FileNotFoundError(errno.ENOENT, "gone"), "data"),
    ],
)
def test_the_machine_is_blamed_for_what_passes(error: Exception, kind: str) -> None:
    assert kind_of(error) == kind
    wrapped = RuntimeError("while training")
    wrapped.__cause__ = error
    assert kind_of(wrapped) == kind


def test_a_failure_while_reading_one_task_blames_that_task(home: Home) -> None:
    batches = {"statements": ["0001-a"], "types": ["0001-b"]}
    at = attempts.Running(home)
    at.show("ingest", 0, 0, "types")
    attempts.fail(home, "a", batches, ValueError("broken"), at)
    at.show("train", 0, 0, "train")
    attempts.fail(home, "a", batches, ValueError("broken"), at)
    attempts.fail(home, "a", batches, OSError(errno.ENOSPC, "full"), at)
    assert failures(home) == {("types", "0001-b"): 2, ("statements", "0001-a"): 1}


def test_an_attempt_whose_process_died_is_written_as_failed_once(home: Home) -> None:
    home.record("attempt", attempt="a", cause="by hand", batches={"types": ["0001-b"]})
    assert [event["attempt"] for event in unended(home.ledger())] == ["a"]
    attempts.bury(home)
    attempts.bury(home)
    failed = [event for event in home.ledger() if event["event"] == "failed"]
    assert [event["kind"] for event in failed] == ["died"]
    assert failures(home) == {("types", "0001-b"): 1}


def test_another_process_with_the_same_number_is_not_the_owner(home: Home) -> None:
    owner = attempts.Running(home)
    with owner.as_owner("a", {}):
        facts = running(home)
        assert facts
        assert facts["pid"] == os.getpid()
        assert not attempts.alive(os.getpid(), facts["created"] - 60.0)
    assert running(home) is None


@pytest.mark.pipeline
def test_the_ledger_holds_every_attempt_and_a_judged_one_is_not_repeated(home: Home) -> None:
    land_rows(home, "types", rows("types", 20, 60))
    land_rows(home, "statements", rows("statements", 20, 60))
    with pytest.raises(ValueError, match="learning_rate"):
        run_refresh(home, tiny(train={"learning_rate": 1e30}), prefect=False, cause="schedule:nightly")
    first = run_refresh(
        home,
        tiny(plan=NO_REPLAY, train={"learning_rate": 0.5}),
        prefect=False,
    )
    again = run_refresh(
        home,
        tiny(plan=NO_REPLAY, train={"learning_rate": 0.5}),
        prefect=False,
    )
    told = [(event["event"], event.get("cause")) for event in home.ledger() if event["event"] != "alias"]
    assert told == [
        ("attempt", "schedule:nightly"),
        ("failed", None),
        ("attempt", "by hand"),
        ("verdict", None),
    ]
    assert (first.repeated, again.repeated, again.version) == (False, True, first.version)
    assert datetime.fromisoformat(home.ledger()[0]["time"]) <= datetime.now(UTC)


@pytest.mark.pipeline
def test_a_person_stops_a_refresh_and_the_next_goes_on_from_its_checkpoint(home: Home, tmp_path: Path) -> None:
    land_rows(home, "types", rows("types", 20, 60))
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "-w", str(home.root), "refresh", "tiny"]
    with (tmp_path / "told").open("wb") as told:
        own = {name: value for name, value in os.environ.items() if name != "PREFECT_HOME"}  # not another test's
        process = subprocess.Popen(command, stdout=told, stderr=told, env=own)
    while process.poll() is None and not any((home.root / "data/train/checkpoints").glob("*")):
        facts = running(home)
        if facts and facts["stage"] == "train":
            break
    assert attempts.stop(home)
    assert process.wait(120) == 1
    assert home.ledger()[-1]["event"] == "stopped"
    assert home.ledger()[-1]["by_hand"]
    assert run_refresh(home, tiny(), prefect=False).kind in {"accepted", "rejected", "undecided"}
