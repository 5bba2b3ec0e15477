"""A graph of skills: which source helps the loss of which task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from steps.methods.mixture import Pilot
from steps.methods.mixture._sources import by_source, task_of

WHOLE_EDGE = 0.5  # what the public code makes of an edge of exactly 1 between two skills
Graph = Mapping[str, Mapping[str, float]]  # source -> task -> A_ij, at least 0


@dataclass(frozen=True)
class Skills:
    """The graph as an array A [S, T]: S sources that are weighed, T tasks whose loss counts."""

    sources: tuple[str, ...]
    tasks: tuple[str, ...]
    a_ST: np.ndarray  # noqa: N815

    @classmethod
    def of(cls, graph: Graph, sources: Sequence[str], targets: Sequence[str]) -> "Skills":
        """A with 1 where the task is the source's own, and 0.5 for any other edge of exactly 1.

        Raises:
            ValueError: a target has no column, or a source no row.
        """
        columns = sorted({task for row in graph.values() for task in row})
        if unknown := sorted(set(targets) - set(columns)):
            raise ValueError(f"plan.mixture.targets: no validated task {', '.join(unknown)}; there are {columns}")
        if missing := sorted(set(sources) - set(graph)):
            raise ValueError(f"plan.mixture: the graph has no row {', '.join(missing)}; run `perennial pilot RECIPE`")
        skills = cls(tuple(sources), tuple(targets or columns), np.empty(0))
        edge_ST = np.array([[graph[source].get(task, 0.0) for task in skills.tasks] for source in sources])
        return replace(skills, a_ST=np.where(skills.own_ST, 1.0, np.where(edge_ST == 1, WHOLE_EDGE, edge_ST)))

    @property
    def own_ST(self) -> np.ndarray:
        """Where a task is the source's own."""
        return np.array([[task_of(source) == task for task in self.tasks] for source in self.sources])

    def density(self, min_edge: float) -> float:
        """The share of the edges between different skills that are there; 0 where there can be none."""
        others = self.a_ST[~self.own_ST]
        return float((others > min_edge).mean()) if len(others) else 0.0

    def damped(self, factor: float) -> "Skills":
        """Edges between different skills times a factor."""
        return replace(self, a_ST=np.where(self.own_ST, self.a_ST, factor * self.a_ST))

    def lone(self) -> np.ndarray:
        """Which sources help no other task and are helped by none [S]."""
        edge_ST = (self.a_ST > 0) & ~self.own_ST
        return np.asarray(~edge_ST.any(axis=1) & ~(self.own_ST & edge_ST.any(axis=0)).any(axis=1))

    def weighed(
        self, prior: Mapping[str, float], loss_T: np.ndarray, eta: float, ignore_lone: bool = False
    ) -> dict[str, float]:
        """Shares by prior_i exp(eta sum_j A_ij l_j), sum 1; `ignore_lone`: those without an edge get 1/S each."""
        lone_S = self.lone() & ignore_lone
        share_S = np.full(len(self.sources), 1 / len(self.sources))
        if not lone_S.all():
            power_S = eta * (self.a_ST @ loss_T)
            weight_S = np.array([prior[source] for source in self.sources]) * np.exp(power_S - power_S.max())
            weight_S[lone_S] = 0
            share_S = np.where(lone_S, share_S, weight_S / weight_S.sum() * (1 - lone_S.mean()))
        return dict(zip(self.sources, share_S.tolist(), strict=True))


def learned(pilots: Sequence[Pilot]) -> dict[str, dict[str, float]]:
    """A from runs on one source alone: the relative fall of each task's loss, mean over seeds, never below 0."""
    return {
        source: {
            task: max(0.0, float(np.mean([1 - run.losses[task][-1] / run.losses[task][0] for run in runs])))
            for task in sorted(runs[0].losses)
        }
        for source, runs in _alone(pilots).items()
    }


def curves(pilots: Sequence[Pilot]) -> dict[str, Any]:
    """What to plot: the losses of all tasks over each run on one source."""
    return {
        f"{source} {run.trial.seed}": {
            "title": f"{source} alone",
            "x": "loss tokens",
            "y": "nats per token",
            "lines": [{"label": task, "x": list(run.tokens), "y": list(run.losses[task])} for task in run.losses],
            "points": [],
            "marks": [],
        }
        for source, runs in _alone(pilots).items()
        for run in runs
    }


def _alone(pilots: Sequence[Pilot]) -> dict[str, list[Pilot]]:
    """The pilots that trained on one source, by source."""
    found: dict[str, list[Pilot]] = {}
    for pilot in pilots:
        sources = [source for source, share in by_source(pilot.trial.shares).items() if share]
        if len(sources) == 1:
            found.setdefault(sources[0], []).append(pilot)
    return dict(sorted(found.items()))
