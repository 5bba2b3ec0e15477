"""Gates over per-item changes of real reports, with a known shift added: what passes that must not, and fails.

`reports/smollm2.json` holds the changes; `reports/README.md` says where they come from.
"""

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from steps.core.comparisons import Answer, Asked, Demands, decide, judge
from steps.core.statistics import Clusters, clustered_change

STORED = Path(__file__).parent / "reports" / "smollm2.json"
MARGIN, BUDGET, LEVEL = 0.05, 2.0, 0.05
DEMANDS = Demands(LEVEL, min_items=30, min_documents=20)


class Pool(NamedTuple):
    """The changes of a task's items between two models, less their mean: by document, and documents by their items."""

    changes: list[np.ndarray]
    alike: dict[int, np.ndarray]  # number of items -> changes [documents, items]


@cache
def pools() -> dict[str, Pool]:
    """By task and pair of models."""
    found = {}
    for name, task in json.loads(STORED.read_text(encoding="utf-8")).items():
        mean = sum(map(sum, task)) / sum(map(len, task))
        changes = [np.array(document) - mean for document in task]
        sizes = sorted({len(document) for document in changes})
        alike = {size: np.array([each for each in changes if len(each) == size]) for size in sizes}
        found[name] = Pool(changes, alike)
    return found


def resampled(pool: Pool, num_documents: int, shift: float, chance: np.random.Generator) -> Clusters:
    """As many documents drawn from a pool, whose true mean is the shift."""
    drawn = [pool.changes[k] for k in chance.integers(len(pool.changes), size=num_documents)]
    counts = np.array([len(each) for each in drawn], dtype=float)
    return Clusters(np.array([each.sum() for each in drawn]) + shift * counts, counts)


class Items:
    """The hold-out of one task over a sequence of refreshes: its documents stay, every refresh has its own noise."""

    def __init__(self, pool: Pool, num_documents: int, chance: np.random.Generator) -> None:
        self.pool, self.chance = pool, chance
        self.counts = np.array([len(pool.changes[k]) for k in chance.integers(len(pool.changes), size=num_documents)])

    def refresh(self, shift: float) -> np.ndarray:
        """What one refresh changes in each document, summed over its items."""
        return np.array(
            [
                alike[self.chance.integers(len(alike))].sum() + shift * count
                for count in self.counts
                for alike in (self.pool.alike[int(count)],)
            ]
        )

    def asked(self, name: str, against: str, sums: np.ndarray, margin: float, draws: int, seed: int) -> Asked:
        """The question about these changes."""
        return Asked(name, against, clustered_change(Clusters(sums, self.counts.astype(float)), draws, seed), margin)


def decision(
    shifts: Mapping[str, Mapping[str, float]],
    fresh: Mapping[str, float],
    num_documents: int,
    draws: int,
    seed: int,
) -> Answer:
    """One verdict: the true shift of each task against each model, and of each fresh set; every noise its own."""
    chance = np.random.default_rng(seed)
    held, gains = [], []
    for against, tasks in shifts.items():
        margin = MARGIN * (1 if against == "champion" else BUDGET)
        for task, shift in tasks.items():
            change = clustered_change(resampled(pools()[task], num_documents, shift, chance), draws, seed)
            held.append(Asked(task, against, change, margin))
    for task, shift in fresh.items():
        change = clustered_change(resampled(pools()[task], num_documents, shift, chance), draws, seed)
        gains.append(Asked(task, "champion", change, MARGIN, part="fresh"))
    return decide(judge(held, gains, DEMANDS), gain=bool(fresh))


def rate(answers: Sequence[Answer], wanted: Answer) -> float:
    """The share of verdicts that say so."""
    return sum(answer == wanted for answer in answers) / len(answers)


def most(level: float, number: int) -> float:
    """The largest share that chance explains, at three binomial errors."""
    return level + 3 * math.sqrt(level * (1 - level) / number)


def drift(
    tasks: Sequence[str], shift: float, refreshes: int, num_documents: int, draws: int, seed: int, *, go_on: bool
) -> list[Answer]:
    """The verdicts on a line that loses `shift` on every task at every refresh, and gains on fresh text.

    Where it goes on, every refresh builds on the one before, whatever its verdict; else on the last that passed.
    """
    chance = np.random.default_rng(seed)
    items = {task: Items(pools()[task], num_documents, chance) for task in tasks}
    since: dict[str, dict[str, np.ndarray]] = {"base": {task: np.zeros(num_documents) for task in tasks}}
    found: list[Answer] = []
    for number in range(refreshes):
        change = {task: items[task].refresh(shift) for task in tasks}
        held = [items[task].asked(task, "champion", change[task], MARGIN, draws, number) for task in tasks]
        for against, before in since.items():
            for task in tasks:
                moved = before[task] + change[task]
                held.append(items[task].asked(task, against, moved, BUDGET * MARGIN, draws, number))
        new = clustered_change(resampled(pools()[tasks[0]], num_documents, -0.3, chance), draws, number)
        fresh = [Asked(tasks[0], "champion", new, MARGIN, part="fresh")]
        found.append(decide(judge(held, fresh, DEMANDS), gain=True))
        if go_on or found[-1] == "pass":
            since = {
                against: {task: before[task] + change[task] for task in tasks} for against, before in since.items()
            }
            since.setdefault("oldest accepted version", {task: np.zeros(num_documents) for task in tasks})
    return found
