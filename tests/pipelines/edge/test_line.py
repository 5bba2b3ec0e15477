"""The line from the ledger: every judged version, the losses of tasks that came later, the moves of `champion`."""

from typing import Any

from pipelines.edge.line import Line, read_line
from pipelines.edge.outcome import Kind, Outcome, TaskRow


def judged(
    version: str, parent: str, kind: Kind, losses: dict[str, tuple[float, float]], time: str = "2026-01-01"
) -> dict[str, Any]:
    """A ledger's line on one version: (before, after) by task."""
    rows = tuple(TaskRow(task=task, role="train", before=b, after=a) for task, (b, a) in losses.items())
    transfer = {"backward transfer": -0.1}
    outcome = Outcome(kind=kind, version=version, parent=parent, rows=rows, tokens=10, transfer=transfer)
    return {"event": "verdict", "time": f"{time}T00:00:00+00:00", "outcome": outcome.model_dump(mode="json")}


def moved(before: str | None, after: str) -> dict[str, Any]:
    when = "2026-01-02T00:00:00+00:00"
    return {
        "event": "alias",
        "alias": "champion",
        "time": when,
        "before": before,
        "after": after,
        "why": "it is better",
    }


LEDGER = [
    moved(None, "1"),
    judged("1", "base", "accepted", {"wiki": (5.0, 4.0)}),
    judged("2", "1", "rejected", {"wiki": (4.0, 4.5)}),
    judged("3", "1", "undecided", {"wiki": (4.0, 3.5), "law": (6.0, 5.0)}),
    moved("1", "3"),
    {"event": "attempt", "attempt": "a"},
    moved("3", "1"),
]


def test_every_version_has_its_point_and_the_base_is_the_first() -> None:
    line = read_line(LEDGER)
    assert [(point.version, point.step, point.verdict) for point in line.points] == [
        ("base", 0, ""),
        ("1", 1, "accepted"),
        ("2", 2, "rejected"),
        ("3", 3, "accepted"),
    ], "what served once was accepted, by the gate or by a person"
    assert line.points[3].losses == {"wiki": 3.5, "law": 5.0}
    assert line.points[3].transfer == {"backward transfer": -0.1}


def test_a_task_that_came_later_was_scored_by_the_refresh_that_compared() -> None:
    line = read_line(LEDGER)
    assert line.points[1].losses == {"wiki": 4.0, "law": 6.0}
    assert line.points[0].losses == {"wiki": 5.0}
    assert line.tasks == ["wiki", "law"]


def test_the_champion_is_the_last_one_moved_to() -> None:
    assert read_line(LEDGER).champion == "1"
    assert read_line([]).champion == "base"
    assert [move.after for move in read_line(LEDGER).moves] == ["1", "3", "1"]


def test_a_verdict_without_an_outcome_has_no_point() -> None:
    event = {"event": "verdict", "time": "2026-01-01T00:00:00+00:00", "version": "1", "outcome": None}
    assert read_line([event]) == Line()
