"""What a candidate is asked, by the reports on it and on another model: tasks, groups of tasks, suites."""

from collections.abc import Iterator, Mapping
from typing import Any

from steps.core.artifacts import Comparison, Report
from steps.core.comparisons import (
    Asked,
    Pair,
    Part,
    item_changes,
    must_hold,
    paired_groups,
    paired_suites,
    paired_tasks,
    suite_changes,
)
from steps.core.margins import groups_of
from steps.core.rules import Rules
from steps.core.statistics import PairedChange
from steps.core.workspace import Workspace


class Asks:
    """The questions to one candidate; the change of each item, and both intervals of each mean, are noted."""

    def __init__(self, workspace: Workspace, rules: Rules, report: Report) -> None:
        self.workspace, self.rules, self.report = workspace, rules, report
        self.rows: list[dict[str, Any]] = []
        self.intervals: list[dict[str, Any]] = []

    def anchor(self, other: Report, against: str, budget: float = 1.0) -> Iterator[Asked]:
        """Every task; or every group of tasks, and a floor under each of them."""
        changes = self._items(other, "anchor", against)
        losses = {task: score.loss_nats_per_token for task, score in other.anchor.items()}
        floor = 1.0
        if self.rules.grouped(tuple(changes)):
            floor = self.rules.floor
            groups = groups_of(changes, self.rules.groups)
            paired = paired_groups(changes, groups, self.rules.bootstrap, self.workspace.seed)
            for name, change in self._noted(paired, "anchor", against):
                mean = sum(losses[task] for task in groups[name]) / len(groups[name])
                yield Asked(name, against, change, budget * self.rules.allowed(name, "group", mean), scope="group")
        paired = paired_tasks(changes, self.rules.bootstrap, self.workspace.seed)
        for task, change in self._noted(paired, "anchor", against):
            margin = floor * budget * self.rules.allowed(task, "task", losses[task])
            yield Asked(task, against, change, margin, floor=floor)

    def fresh(self, other: Report, against: str, part: Part = "fresh") -> Iterator[Asked]:
        """The tasks of the fresh sets, or of those that were fresh in a refresh before."""
        losses = {task: score.loss_nats_per_token for task, score in getattr(other, part).items()}
        paired = paired_tasks(self._items(other, part, against), self.rules.bootstrap, self.workspace.seed)
        for task, change in self._noted(paired, part, against):
            yield Asked(task, against, change, self.rules.allowed(task, "task", losses[task]), part=part)

    def recent(self, other: Report, against: str) -> Iterator[Asked]:
        """What was fresh in a refresh before, where it is enough to say something."""
        return (asked for asked in self.fresh(other, against, "recent") if not self.rules.demands.unmet(asked))

    def suites(self, other: Report, against: str, budget: float = 1.0) -> Iterator[Asked]:
        """Every suite that may lose a little."""
        changes = self._questions(other, against)
        self._note(changes, "suite", against, "points")
        paired = paired_suites(changes, self.rules.bootstrap, self.workspace.seed)
        for name, change in self._noted(paired, "suite", against, "points"):
            margin = budget * self.rules.allowed(name, "suite", 100 * other.suites[name].score)
            yield Asked(name, against, change, margin, scope="suite")

    def kept(self, other: Report, against: str) -> list[Comparison]:
        """Every suite of which no right answer may be lost."""
        changes = self._questions(other, against, kept=True)
        self._note(changes, "suite", against, "points")
        return [must_hold(name, pairs, against) for name, pairs in changes.items()]

    def _questions(self, other: Report, against: str, *, kept: bool = False) -> dict[str, list[Pair]]:
        if not (self.report.suites and other.suites):
            return {}
        new, old = (self.workspace.at(each.path) / "suites.jsonl" for each in (self.report, other))
        changes = suite_changes(new, old, against)
        return {name: pairs for name, pairs in changes.items() if self.rules.is_kept(name) is kept}

    def _items(self, other: Report, part: Part, against: str) -> dict[str, list[Pair]]:
        new, old = (self.workspace.at(each.path) / "items.jsonl" for each in (self.report, other))
        changes = item_changes(new, old, part, against)
        self._note(changes, part, against, "nats")
        return changes

    def _note(self, changes: Mapping[str, list[Pair]], part: str, against: str, unit: str) -> None:
        for task, pairs in changes.items():
            what = {"task": task, "part": part, "against": against}
            self.rows += [
                {**what, "id": pair.item, "document": pair.document, f"change_{unit}": pair.change} for pair in pairs
            ]

    def _noted(
        self, paired: Mapping[str, PairedChange], part: str, against: str, unit: str = "nats"
    ) -> Iterator[tuple[str, PairedChange]]:
        for name, change in paired.items():
            student, bootstrap = change.t_interval(), change.bootstrap_interval()
            numbers = {f"change_{unit}": change.mean, f"error_{unit}": change.error, "t": student}
            self.intervals.append({"task": name, "part": part, "against": against, **numbers, "bootstrap": bootstrap})
            yield name, change
