"""Shares by a graph of skills, looked at again while training runs."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from steps.core.method import Cite
from steps.methods.mixture import Decision, Fit, Mixture, Pilot, Shares, Supply, Trial
from steps.methods.mixture._skills import Skills, curves, learned
from steps.methods.mixture._sources import as_shares, by_source, fitted, held, task_of

LOW, HIGH = 0.05, 0.95  # ours: a graph with fewer or more of its edges says nothing of an order


class SkillGraph(Mixture):
    """Skill-it: the more a source helps tasks whose loss is high, the more of it.

    Rule:       A_ij = max(0, (L_j(0) - L_j(H)) / L_j(0)) after a short run on source i alone; 1 where j is i's task
                first shares: w_i = prior_i exp(eta sum_j A_ij); every `update_steps`, from the prior again:
                w_i = prior_i exp(eta_t sum_j A_ij l_j), l_j = sum of task j's validation loss over `window` rounds;
                with `targets` only their columns, and the mean. Replay keeps `replay_share` and the rule acts on the
                new tasks; without `keep_replay_share` it acts on all sources, and sets how much is replayed
    Shapes:     A [sources, tasks]; a round is one loss per task, that at its end; the first is before training
    Units:      losses in nats per token; eta is per nat
    Differs:    the window counts rounds, the public code's counts evaluations; L(0) is before training, there it is the
                second evaluation; `dynamic_lambda` halves what is not a source's own task, also where A is not square
    Reduces to: `fixed` with equal shares at eta = 0, and where the graph is nearly empty or complete (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="Skill-it! A Data-Driven Skills Framework for Understanding and Training Language Models",
        id="arXiv:2307.14430",
        where="HazyResearch/skill-it 807b3bf, trainer/mw_trainer.py; edges from short runs: README and recalled",
        checked="code",
    )

    eta: float = Field(0.2, ge=0, description="how strongly losses tilt the shares, per nat; the source: 0.1 to 0.8")
    window: int = Field(3, gt=0, description="rounds whose losses are summed")
    update_steps: int = Field(100, gt=0, description="optimiser steps of a round")
    replay_share: float = Field(0.30, ge=0, lt=1, description="share of the loss tokens that is replayed")
    keep_replay_share: bool = Field(True, description="replay keeps its share; false: it is weighed like new text")
    prior: Literal["equal", "proportional"] | dict[str, float] = Field(
        "equal", description="sources before any loss: equal, by the tokens that they hold, or {source: weight}"
    )
    targets: tuple[str, ...] = Field((), description="tasks whose loss counts; empty: every task that is validated")
    eta_schedule: bool = Field(False, description="eta times the sum of first losses over the sum of newest")
    normalize_loss: bool = Field(False, description="each loss over its first")
    dynamic_lambda: bool = Field(False, description="halve the edges to other tasks after every round")
    ignore_lone_nodes: bool = Field(False, description="a source without edges keeps its equal share")
    min_edge: float = Field(0.005, ge=0, description="relative fall of a loss from which an edge counts as there; ours")
    pilot_part: float = Field(0.1, gt=0, le=1, description="tokens of a run for the graph, as a part of the budget")
    num_seeds: int = Field(1, gt=0, description="runs per source, averaged; the source: 5")
    fit: Fit | None = Field(None, description="the graph that `perennial pilot` learned")
    graph: dict[str, dict[str, float]] | None = Field(
        None, description="{source: {task: A}} by hand, in place of a fit"
    )

    def decide(self, supply: Supply, seed: int) -> Decision:
        """The first shares; steered, unless the graph says nothing of an order.

        Raises:
            ValueError: there is neither a fit nor a graph, or a source, a target or a prior is not in it.
        """
        weighed = self._weighed(supply)
        graph = self.graph if self.graph is not None else fitted(self.method_name(), self.fit, supply)["graph"]
        prior = {"equal": dict.fromkeys(weighed, 1.0), "proportional": weighed}.get(str(self.prior), self.prior)
        if not isinstance(prior, dict) or set(prior) != set(weighed) or min(prior.values()) <= 0:
            raise ValueError(f"plan.mixture.prior: wanted a weight above 0 for each of {list(weighed)}, found {prior}")
        skills = Skills.of(graph, list(weighed), self.targets)
        density = skills.density(self.min_edge)
        ordered = len(weighed) > 1 and LOW < density < HIGH
        told = f"skill-graph: of {list(weighed)}, {density:.0%} of the edges between different skills are there; "
        told += "steered" if ordered else "that gives no order: shares stay as before any loss, and are not steered"
        shares: Mapping[str, float] = prior
        if ordered:
            shares = skills.weighed(prior, np.ones(len(skills.tasks)), self.eta, self.ignore_lone_nodes)
        stage = as_shares({source: share / sum(shares.values()) for source, share in shares.items()})
        if self.keep_replay_share:
            new = {task_of(source): share for source, share in shares.items()}
            stage = Shares(replay=self.replay_share, new_weights=new, replay_weights=dict(supply.replay))
        ready = {"graph": {source: graph[source] for source in weighed}, "prior": prior, "fit": None}
        steered = self.model_copy(update=ready).model_dump(mode="json") if ordered else None
        return Decision(stages=(stage,), told=(told,), steered=steered)

    def steer(self, rounds: Sequence[Mapping[str, float]], current: Mapping[str, float]) -> dict[str, float]:
        """New shares by source, from the prior and the losses of the newest rounds."""
        assert self.graph is not None, "train steers what decide has made ready"
        assert isinstance(self.prior, dict), "train steers what decide has made ready"
        skills = Skills.of(self.graph, list(self.graph), self.targets)
        if self.dynamic_lambda:
            skills = skills.damped(0.5 ** max(0, len(rounds) - 2))  # the first update still sees the whole graph
        loss_RT = np.array([[losses[task] for task in skills.tasks] for losses in rounds])
        newest_RT = loss_RT[-self.window :]
        loss_T = newest_RT.mean(axis=0) if self.targets else newest_RT.sum(axis=0)
        loss_T = loss_T / loss_RT[0] if self.normalize_loss else loss_T
        eta = self.eta * float(loss_RT[0].sum() / loss_RT[-1].sum()) if self.eta_schedule else self.eta
        whole = sum(current[source] for source in skills.sources)
        shares = skills.weighed(self.prior, loss_T, eta, self.ignore_lone_nodes)
        return {**current, **{source: whole * share for source, share in shares.items()}}

    def pilots(self, supply: Supply, seed: int) -> tuple[Trial, ...]:
        """A run on each source alone, per seed; all of one length, which no source is repeated too often for."""
        weighed = self._weighed(supply)
        tokens = min(self.pilot_part * supply.budget_tokens, *(supply.max_epochs * own for own in weighed.values()))
        return tuple(
            Trial(
                name=f"skill-{number:02d}-seed-{seed + run}",
                shares=as_shares({source: 1.0}),
                num_tokens=max(1, int(tokens)),
                seed=seed + run,
            )
            for number, source in enumerate(weighed)
            for run in range(self.num_seeds)
        )

    def learn(self, supply: Supply, pilots: Sequence[Pilot], roles: Mapping[str, str], seed: int) -> dict[str, Any]:
        """The graph, how dense it is, and the first shares.

        Raises:
            ValueError: a source has no run of its own.
        """
        graph = learned(pilots)
        decision = self.model_copy(update={"graph": graph, "fit": None}).decide(supply, seed)
        density = Skills.of(graph, list(self._weighed(supply)), self.targets).density(self.min_edge)
        return {
            "method": self.method_name(),
            "law": {"graph": graph},
            "intervals": {},
            "checks": {"density": density, "steered": decision.steered is not None},
            "recommended": by_source(decision.stages[0]),
            "predicted": {},
            "curves": curves(pilots),
            "told": list(decision.told),
        }

    def _weighed(self, supply: Supply) -> dict[str, float]:
        """The sources that the rule weighs, with the tokens that they hold."""
        found = held(supply).items()
        return {source: float(n) for source, n in found if source.startswith("new/") or not self.keep_replay_share}
