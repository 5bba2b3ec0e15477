"""The rules of the gate that a recipe spells: what may be lost, by what, and how sure one must be of it."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from pydantic import Field

from steps.core.artifacts import Frozen
from steps.core.comparisons import Demands, Scope
from steps.core.margins import Margin, Written, margin_of


class Rules(Frozen):
    """What a candidate may lose, and what a task must bring to be judged."""

    level: float = Field(0.05, gt=0, lt=0.5, description="chance of passing wrongly, and of failing wrongly, at most")
    margin_nats: float = Field(0.05, gt=0, description="nats/token that a task may lose in one refresh")
    margin_points: float = Field(5.0, gt=0, description="points of 100 that a suite may lose in one refresh")
    margins: dict[str, Written] = Field(
        default_factory=dict, description="of single tasks, suites or groups, or patterns: 0.05 nats, 2 points or 3 %"
    )
    budget: float = Field(2.0, ge=1, description="margins that may be lost in all against each pinned reference")
    groups: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="group -> patterns of its tasks, which are judged by their mean"
    )
    group_above: int = Field(20, ge=1, description="tasks above which they are one group, where groups names none")
    floor: float = Field(3.0, ge=1, description="margins that a single task of a group may lose")
    must_hold: tuple[str, ...] = Field(
        ("canaries",), description="suites, or patterns, of which no right answer may be lost"
    )
    min_items: int = Field(100, ge=2, description="items of a task, under which it is undecided")
    min_documents: int = Field(30, ge=2, description="documents of a task, under which it is undecided")
    min_questions: int = Field(
        30, ge=2, description="questions of a suite, under which it is undecided; several on one document are one"
    )
    bootstrap: int = Field(2000, ge=0, description="resamples of the documents beside the t test; 0: the t test alone")

    @property
    def demands(self) -> Demands:
        """What a task must bring."""
        return Demands(self.level, self.min_items, self.min_documents, self.min_questions)

    def allowed(self, name: str, scope: Scope, mean: float) -> float:
        """What a task, group or suite may lose in one refresh, where the other model's mean is this.

        Raises:
            ValueError: its margin is in a unit that it does not have.
        """
        suite = scope == "suite"
        usual = Margin(amount=self.margin_points, unit="points") if suite else Margin(amount=self.margin_nats)
        return margin_of(self.margins, name, usual).allowed(name, "points" if suite else "nats", mean)

    def grouped(self, tasks: Sequence[str]) -> bool:
        """Whether tasks are judged in groups."""
        return bool(self.groups) or len(tasks) > self.group_above

    def is_kept(self, suite: str) -> bool:
        """Whether a suite may lose nothing at all."""
        return fits(suite, self.must_hold)


def fits(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name fits any of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
