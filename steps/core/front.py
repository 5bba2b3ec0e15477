"""What a sweep found: the front between what is gained on the tasks trained on and what the others lose."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from steps.core.artifacts import Frozen
from steps.core.rows import How

FRONT = "front.json"  # beside the folder of the model


class Reading(NamedTuple):
    """How much of the validation items is read, and how."""

    num_items: int | None = None  # of each task, the first of them; none: all
    num_tokens: int = 60  # of each item that count
    labelled: How = "auto"  # how labelled items are written


class Change(Frozen):
    """A task's paired change of loss against the parent, on validation items; below zero is better."""

    mean_nats: float = Field(description="nats/token")
    error_nats: float = Field(description="standard error, clustered by document; 0 where there is one document")
    num_items: int


class Point(Frozen):
    """One coefficient of a rule, and what came of it."""

    value: float
    changes: dict[str, Change] = Field(description="by task")

    def gain(self, trained: Sequence[str]) -> float:
        """Mean fall of loss over the tasks trained on, nats/token."""
        found = [-self.changes[task].mean_nats for task in trained if task in self.changes]
        return sum(found) / len(found)

    def harm(self, caution: float) -> float:
        """What the task that comes off worst loses, with so many standard errors on top, nats/token."""
        return max(change.mean_nats + caution * change.error_nats for change in self.changes.values())


class Front(Frozen):
    """The points of a sweep, in the recipe's order, and the one that was taken."""

    rule: dict[str, Any] = Field(description="the rule that was swept, as a recipe spells it")
    knob: str = Field(description="which of its coefficients")
    margin_nats: float = Field(description="what any task may lose, nats/token")
    caution: float = Field(description="standard errors that a task's change is raised by before it is compared")
    trained: tuple[str, ...] = Field(description="the tasks whose gain counts")
    points: tuple[Point, ...] = Field(min_length=1)

    @property
    def within(self) -> list[Point]:
        """The points at which no task loses more than the margin."""
        return [point for point in self.points if point.harm(self.caution) <= self.margin_nats]

    @property
    def chosen(self) -> Point:
        """Within the margin the point of most gain; where none is within it, the point of least harm."""
        if within := self.within:
            return max(within, key=lambda point: (point.gain(self.trained), -point.harm(self.caution)))
        return min(self.points, key=lambda point: point.harm(self.caution))

    def say(self) -> str:
        """What was taken and why, for a person."""
        point, tasks = self.chosen, ", ".join(self.trained)
        where = f"{self.rule['method']} at {self.knob} {point.value:g}"
        if not self.within:
            worst = max(point.changes, key=lambda task: point.changes[task].mean_nats)
            return (
                f"{where} harms least, but no value of {self.knob} keeps every task within {self.margin_nats:g} "
                f"nats/token on validation ({worst}: {point.changes[worst].mean_nats:+.3f})"
            )
        return (
            f"{where}: most gain on {tasks} ({point.gain(self.trained):.3f} nats/token on validation) with every "
            f"task within {self.margin_nats:g}"
        )


def read_front(model: Path) -> Front | None:
    """What the sweep found that made a model; none: no sweep made it."""
    try:
        return Front.model_validate(json.loads((model.parent / FRONT).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
