"""The line as the ledger tells it: what every version scored, and how `champion` moved."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field

from pipelines.edge.outcome import Outcome
from steps.core.artifacts import Frozen, MatrixRow

BASE = "base"


class Point(Frozen):
    """One version, or the base: what it scored when it was judged."""

    version: str
    parent: str = ""
    verdict: str = ""
    time: str = ""
    losses: dict[str, float] = Field(description="nats/token on the anchor hold-out, by task")
    trained: tuple[str, ...] = ()
    transfer: dict[str, float] = Field(default_factory=dict)
    seconds: float = 0.0
    device_seconds: float = 0.0
    tokens: int = 0
    reason: str = ""

    @property
    def step(self) -> int:
        """The version's number, 0 for the base: its place on a chart."""
        return 0 if self.version == BASE else int(self.version)

    @property
    def row(self) -> MatrixRow:
        """The version's row of the matrix."""
        return MatrixRow(version=self.version, losses=self.losses, trained=self.trained)


class Move(Frozen):
    """One move of `champion`."""

    time: str
    before: str | None
    after: str
    why: str


class Line(Frozen):
    """Every version that was judged, the base first, and every move of `champion`, oldest first."""

    points: tuple[Point, ...] = ()
    moves: tuple[Move, ...] = ()

    @property
    def champion(self) -> str:
        """The version that serves; `base` before the first."""
        return self.moves[-1].after if self.moves else BASE

    @property
    def tasks(self) -> list[str]:
        """Every task that a version was scored on, in the order of the table."""
        return list(dict.fromkeys(task for point in self.points for task in point.losses))


def read_line(ledger: Iterable[Mapping[str, Any]]) -> Line:
    """The line from the ledger's events.

    A version that was judged before a task came gets its loss on that task from the refresh that compared with it.
    """
    points: dict[str, Point] = {}
    moves: list[Move] = []
    for event in ledger:
        if event["event"] == "alias" and event["alias"] == "champion" and event["after"]:
            moves.append(Move(time=event["time"], before=event["before"], after=event["after"], why=event["why"]))
        elif event["event"] == "verdict" and event.get("outcome"):
            outcome = Outcome.model_validate(event["outcome"])
            if not outcome.version:
                continue
            before = {row.task: row.before for row in outcome.rows if row.before is not None}
            parent = points.get(outcome.parent, Point(version=outcome.parent, time=event["time"], losses={}))
            points[outcome.parent] = parent.model_copy(update={"losses": {**before, **parent.losses}})
            points[outcome.version] = _point(outcome, event["time"])
    served = {move.after for move in moves}
    judged = [
        point.model_copy(update={"verdict": "accepted"}) if point.version in served else point
        for point in points.values()
    ]
    return Line(points=tuple(sorted(judged, key=lambda point: point.step)), moves=tuple(moves))


def _point(outcome: Outcome, time: str) -> Point:
    return Point(
        version=outcome.version or "",
        parent=outcome.parent,
        verdict=outcome.kind,
        time=time,
        losses={row.task: row.after for row in outcome.rows if row.after is not None},
        trained=outcome.trained,
        transfer=outcome.transfer,
        seconds=outcome.seconds,
        device_seconds=outcome.device_seconds,
        tokens=outcome.tokens,
        reason=outcome.reasons[0] if outcome.reasons else "",
    )
