"""Whether what waits should start a refresh now. Pure: backlog, ledger and settings in, a decision out."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pipelines.edge.attempts import LONGEST_PAUSE
from pipelines.edge.session import BY_HAND
from pipelines.edge.settings import Budget, Settings, Trigger
from steps.core.artifacts import Frozen

DAY = timedelta(days=1)


class Waiting(Frozen):
    """One batch that waits: no accepted refresh has consumed it, and nobody holds it."""

    task: str
    batch: str
    trains: bool
    documents: int
    tokens: int
    age_seconds: float


class Decision(Frozen):
    """Start or not, why, and when it is worth asking again, in seconds; none: when something changes."""

    start: bool
    why: str
    ask_again_in: float | None = None


class Spent(Frozen):
    """What schedules and triggers used in the last 24 hours."""

    runs: int
    device_hours: float


def decide(
    waiting: Sequence[Waiting], settings: Settings, spent: Spent, pause_seconds: float = 0.0, known: str = ""
) -> Decision:
    """The decision for one workspace.

    Args:
        waiting: the batches that wait.
        settings: the workspace's conditions.
        spent: what was used of the budget.
        pause_seconds: what is left of the pause after failed attempts.
        known: why this very attempt must not start again (it was judged, or a person stopped it), if so.
    """
    by_task: dict[str, list[Waiting]] = {}
    for batch in waiting:
        if batch.trains:
            by_task.setdefault(batch.task, []).append(batch)
    if not by_task:
        return Decision(start=False, why="nothing to train on waits")
    answers = {task: _of_task(task, batches, settings.trigger(task)) for task, batches in by_task.items()}
    due = [task for task, answer in answers.items() if answer.start]
    if not due:
        later = [answer.ask_again_in for answer in answers.values() if answer.ask_again_in is not None]
        why = "; ".join(answer.why for answer in answers.values())
        return Decision(start=False, why=why, ask_again_in=min(later, default=None))
    if known:
        return Decision(start=False, why=known)
    if pause_seconds > 0:
        return Decision(start=False, why="a pause after a failed attempt", ask_again_in=pause_seconds)
    if over := over_budget(spent, settings.budget):
        return Decision(start=False, why=over, ask_again_in=600.0)
    return Decision(start=True, why="; ".join(answers[task].why for task in due))


def _of_task(task: str, waiting: Sequence[Waiting], trigger: Trigger | None) -> Decision:
    if trigger is None:
        return Decision(start=False, why=f"{task}: no trigger")
    review = trigger.review.total_seconds()
    seen = [batch for batch in waiting if batch.age_seconds >= review]
    if not seen:
        left = review - max(batch.age_seconds for batch in waiting)
        return Decision(start=False, why=f"{task}: in its review window", ask_again_in=left)
    documents, tokens = sum(b.documents for b in seen), sum(b.tokens for b in seen)
    oldest = max(batch.age_seconds for batch in seen)
    enough = [
        f"{documents:,} documents" if trigger.documents is not None and documents >= trigger.documents else "",
        f"{tokens:,} tokens" if trigger.tokens is not None and tokens >= trigger.tokens else "",
        "the oldest waits long enough" if trigger.oldest and oldest >= trigger.oldest.total_seconds() else "",
    ]
    reasons = [reason for reason in enough if reason]
    times = [review - batch.age_seconds for batch in waiting if batch not in seen]
    if not reasons:
        if trigger.oldest:
            times.append(trigger.oldest.total_seconds() - oldest)
        why = f"{task}: {documents:,} documents and {tokens:,} tokens wait, not enough yet"
        return Decision(start=False, why=why, ask_again_in=min(times, default=None))
    quiet_left = trigger.quiet.total_seconds() - min(batch.age_seconds for batch in waiting)
    if quiet_left > 0:
        return Decision(start=False, why=f"{task}: text is still arriving", ask_again_in=quiet_left)
    return Decision(start=True, why=f"{task}: {', '.join(reasons)}")


def spent(ledger: Sequence[Mapping[str, Any]], now: datetime) -> Spent:
    """What schedules and triggers used in the last 24 hours, by the ledger. A time after now counts as now."""
    causes = {event["attempt"]: event["cause"] for event in ledger if event["event"] == "attempt"}
    runs, seconds = 0, 0.0
    for event in ledger:
        if (
            now - datetime.fromisoformat(event["time"]) >= DAY
            or causes.get(event.get("attempt", ""), BY_HAND) == BY_HAND
        ):
            continue
        runs += event["event"] == "attempt"
        if event["event"] == "verdict":
            seconds += ((event.get("outcome") or {}).get("device_seconds")) or 0.0
        elif event["event"] in {"failed", "stopped"}:
            seconds += event.get("seconds", 0.0)
    return Spent(runs=runs, device_hours=seconds / 3600.0)


def over_budget(used: Spent, budget: Budget) -> str:
    """Why nothing more may start today; empty if something may."""
    if budget.runs is not None and used.runs >= budget.runs:
        return f"budget spent: {used.runs} of {budget.runs} refreshes in 24 hours"
    if budget.device_hours is not None and used.device_hours >= budget.device_hours:
        return f"budget spent: {used.device_hours:.2f} of {budget.device_hours:g} device hours in 24 hours"
    return ""


def pause_left(ledger: Sequence[Mapping[str, Any]], retry_after: timedelta, now: datetime) -> float:
    """Seconds until a refresh may start by itself again: doubled with every failure in a row, at most an hour."""
    ends = [event for event in ledger if event["event"] in {"verdict", "failed", "stopped", "release"}]
    in_a_row = 0
    for event in reversed(ends):
        if event["event"] != "failed":
            break
        in_a_row += 1
    if not in_a_row:
        return 0.0
    pause = min(retry_after * 2 ** min(in_a_row - 1, 20), LONGEST_PAUSE)
    left = pause - (now - datetime.fromisoformat(ends[-1]["time"]))
    return float(min(max(0.0, left.total_seconds()), pause.total_seconds()))  # a clock set back does not lengthen it
