"""Shares with the best losses that a law over short runs predicts."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, PositiveFloat

from steps.core.laws import interval
from steps.core.method import Cite
from steps.methods.mixture import Decision, Fit, Mixture, Pilot, Supply, Trial
from steps.methods.mixture._groups import Groups
from steps.methods.mixture._log_linear import LogLinear
from steps.methods.mixture._optimum import best
from steps.methods.mixture._proxies import Proxies, drawn_mixtures
from steps.methods.mixture._sources import as_shares, fitted


class Regression(Mixture):
    """A law of the losses over proxy runs; the shares with the smallest weighted loss, not far from natural ones.

    Rule:       loss_j = f_j + exp(c_j + sum_i t_ji share_i), f_j >= 0, fitted to the proxies; shares minimise
                sum_j v_j loss_j / sum_j v_j + kl * KL(shares || natural), between `floors` and what `max_epochs` lets
                a source give; shares under `min_share` are dropped and the rest is solved again. A source is new or
                replayed text of a task, so how much is replayed is decided too; natural shares go by tokens held.
                With `reuse`, the sources of an earlier fit keep their ratios, as one group against those that came
    Shapes:     shares sum to 1 over sources; t [tasks, sources], its natural mean 0
    Units:      losses in nats per token; kl is in the same unit
    Differs:    the law is olmix's; RegMix draws proxies as here, but fits boosted trees and searches by samples
    Reduces to: log loss linear in shares without `floored` (exact); natural shares as kl grows (close)
    """

    cite: ClassVar[Cite] = Cite(
        title="RegMix: Data Mixture as Regression for Language Model Pre-training; Olmix",
        id="arXiv:2407.01492",
        where="sail-sg/regmix b004d3a, mixture_config/synthesize_mixture.py (draws); allenai/olmix 9586977, "
        "olmix/fit/utils.py (law, optimum), configs/examples/fit/example.yaml (kl 0.1, factor 4)",
        checked="code",
    )

    num_proxies: int | None = Field(None, gt=0, description="runs that are fitted; none: four for each source or group")
    num_held_out: int = Field(2, gt=0, description="runs that are predicted, not fitted")
    pilot_part: float = Field(0.1, gt=0, le=1, description="loss tokens of a run, as a part of the budget")
    strength: tuple[PositiveFloat, PositiveFloat] = Field(
        (0.1, 5.0), description="range of the Dirichlet's concentration, drawn log-uniformly; larger: nearer to natural"
    )
    flatten: float = Field(0.5, gt=0, le=1, description="natural shares to this power are the Dirichlet's mean")
    natural_replay: float | None = Field(
        None, gt=0, lt=1, description="share of replay in the natural shares; none: by the tokens held"
    )
    general_weight: float = Field(1.0, ge=0, description="weight of a replay-only task's loss; a train task's is 1")
    floored: bool = Field(True, description="a loss falls to a floor of its own; false: to 0, log loss is linear")
    kl: float = Field(0.1, gt=0, description="nats per nat of divergence from the natural shares")
    floors: dict[str, float] = Field(default_factory=dict, description="{source: least share of the loss tokens}")
    min_share: float = Field(1e-3, ge=0, lt=1, description="a smaller share is dropped, unless it has a floor")
    min_r2: float = Field(0.8, le=1, description="a task whose law explains less of the variance is not believed")
    draws: int = Field(100, ge=0, description="of the bootstrap behind the intervals")
    reuse: Fit | None = Field(None, description="an earlier fit whose sources keep their ratios; pilots fit the others")
    fit: Fit | None = Field(None, description="the law that `perennial pilot` fitted")

    def pilots(self, supply: Supply, seed: int) -> tuple[Trial, ...]:
        """Short runs at mixtures drawn around the natural shares; the held-out ones are drawn nearest to them.

        Raises:
            ValueError: `reuse` names what leaves nothing to fit, or the text is too little for such runs.
        """
        groups = self._groups(supply)
        tokens = max(1, int(self.pilot_part * supply.budget_tokens))
        num, random = self.num_proxies or 4 * len(groups.names), np.random.default_rng(seed)
        low, high = np.log(self.strength)
        strengths = [*np.exp(random.uniform(low, high, num)).tolist(), *[self.strength[1]] * self.num_held_out]
        high_G = groups.caps(supply, tokens)
        mixtures = drawn_mixtures(groups, high_G, strengths, self.flatten, self.min_share, random)
        return tuple(
            Trial(
                name=f"proxy-{number:03d}",
                shares=as_shares(groups.spread(share_G)),
                num_tokens=tokens,
                held_out=number >= num,
                seed=seed,
            )
            for number, share_G in enumerate(mixtures)
        )

    def learn(self, supply: Supply, pilots: Sequence[Pilot], roles: Mapping[str, str], seed: int) -> dict[str, Any]:
        """The law, how well it explains and predicts, and the shares for this refresh.

        Raises:
            ValueError: the runs are too few or too alike, or a loss that counts is not explained.
        """
        groups = self._groups(supply)
        proxies, unseen = (Proxies.of(pilots, groups, held_out=held_out) for held_out in (False, True))
        law = LogLinear.fitted(proxies.share_NG, proxies.loss_NT, floored=self.floored)
        weights = {task: self.general_weight if roles.get(task) == "replay-only" else 1.0 for task in proxies.tasks}
        r2 = law.explained(proxies.share_NG, proxies.loss_NT, proxies.tasks)
        if poor := {task: round(found, 2) for task, found in r2.items() if weights[task] and found < self.min_r2}:
            raise ValueError(
                f"pilot: the law explains too little of {poor}, wanted R2 of at least {self.min_r2:g}: raise "
                "plan.mixture.num_proxies or pilot_part, or lower min_r2"
            )
        tokens = pilots[0].tokens[-1]
        content = law.written(groups.names, proxies.tasks, groups.gathered(groups.natural))
        content |= {"groups": groups.ratios, "weights": weights, "tokens": tokens}
        decision = self._decided(content, supply)
        drawn = law.drawn(proxies.share_NG, proxies.loss_NT, self.draws, seed, floored=self.floored)
        share_DG = np.array([self._best(one, groups, weights, supply) for one in drawn])
        return {
            "method": self.method_name(),
            "law": content,
            "ratio": 1 - decision.stages[0].replay,
            "recommended": groups.spread(self._best(law, groups, weights, supply)),
            "predicted": decision.predicted,
            "intervals": {"groups": dict(zip(groups.names, map(interval, share_DG.T), strict=True))} if drawn else {},
            "checks": {"r2": r2, "held_out": proxies.held_out_rows(law, unseen, groups, tokens, roles)},
            "curves": {"losses": proxies.panel(law, unseen)},
            "told": list(decision.told),
        }

    def decide(self, supply: Supply, seed: int) -> Decision:
        """The optimum under what this refresh has.

        Raises:
            ValueError: there is no fit, it does not know a source, or floors and caps leave no shares.
        """
        return self._decided(fitted(self.method_name(), self.fit, supply), supply)

    def _decided(self, content: Mapping[str, Any], supply: Supply) -> Decision:
        groups = Groups.at_hand(content["groups"], supply, self.natural_replay)
        law = LogLinear.read(content, groups.names)
        share_G = self._best(law, groups, content["weights"], supply)
        shares = groups.spread(share_G)
        losses = dict(zip(content["weights"], law.losses(share_G).tolist(), strict=True))
        spelt = ", ".join(f"{source} {share:.1%}" for source, share in shares.items())
        nats = ", ".join(f"{task} {loss:.3f}" for task, loss in losses.items())
        told = (
            f"regression: {spelt}",
            f"regression: nats per token after {content['tokens']:,} tokens, as a proxy: {nats}",
        )
        full = content["tokens"] >= 0.99 * supply.budget_tokens  # a short run says what is best, not how good it is
        return Decision(stages=(as_shares(shares),), predicted=losses if full else {}, told=told)

    def _best(self, law: LogLinear, groups: Groups, weights: Mapping[str, float], supply: Supply) -> np.ndarray:
        weight_T = np.array(list(weights.values()))
        high_G, low_G = groups.caps(supply, supply.budget_tokens), groups.floors(self.floors)
        return best(law, weight_T / weight_T.sum(), groups, high_G, low_G, self.kl, self.min_share)

    def _groups(self, supply: Supply) -> Groups:
        earlier: dict[str, float] = supply.read(self.reuse)["recommended"] if self.reuse else {}
        return Groups.of(supply, earlier, self.natural_replay)
