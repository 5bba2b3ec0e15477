"""The largest share of new text at which general loss has turned and stays near its start."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from steps.core import critical
from steps.core.critical import MIN_POINTS, MIN_RATIOS, CriticalLaw, choose
from steps.core.critical_report import curves_of, doubts, refusal, told, trusted
from steps.core.curves import DOMAIN, GENERAL, GROUPS, Curve, change_error, held_out_rows
from steps.core.laws import interval
from steps.core.method import Cite
from steps.methods.mixture import Decision, Fit, Pilot, Supply, Trial
from steps.methods.mixture._ratios import New, OverRatios, Ratios, decided, enough, observed, shares_at, trials
from steps.methods.mixture._sources import by_source, fitted


class CriticalRatio(OverRatios):
    """The critical mixture ratio (CMR law) of pilots on the user's own model and text.

    Rule:       R* = max {R : L_gen(R, T) <= L_gen(start) + epsilon, T0(R) < T}, T0 where L_dom + lambda L_gen last
                turns from rising to falling; dL_dom = a1 T^s1 + b1, dL_gen = a2 T^s2 + a3 T^s3 + b2 at each R;
                R_CMR(T) = a4 T^s4 + b3 through the (T0, R); L(R) = a R^s + b at each T
    Units:      R share of new text in loss tokens; T loss tokens of a run; losses nats per token
    Differs:    a ratio whose general loss falls from the start is feasible; with fewer than three turning points the
                largest ratio that has turned is taken; never above the largest ratio tested; L(R) is fitted to the laws
                over T, which beyond the pilots go on from their last slope; several tasks of a role count by their mean
    Reduces to: the turning points of general loss as lambda grows (close); `fixed` at the recommended share (exact)
    """

    min_points: ClassVar[int] = MIN_POINTS
    cite: ClassVar[Cite] = Cite(
        title="CMR Scaling Law: Predicting Critical Mixture Ratios for Continual Pre-training of Language Models",
        id="arXiv:2407.17467",
        where="eq. 3 to 8, def. 3; the optimiser of the fits is not stated there",
        checked="paper",
    )

    fit: Fit | None = Field(None, description="the law that `perennial pilot` fitted")
    ratios: Ratios = Field((0.15, 0.3, 0.5, 0.7, 0.85, 1.0), description="shares of new text of the pilots")
    held_out: Ratios = Field((0.7,), description="of these ratios, those that are not fitted but predicted")
    pilot_tokens: int | None = Field(None, gt=0, description="loss tokens of each pilot; none: a quarter of the budget")
    seeds: int = Field(1, ge=1, description="pilots at each ratio; with two or more the intervals show their spread")
    lambda_: float = Field(1000.0, ge=0, description="weight of general loss; the paper used 100 to 7000; no unit")
    epsilon: float = Field(0.05, ge=0, description="general loss may end so far above its start, nats per token")
    min_r2: float = Field(0.8, ge=0, le=1, description="a fit that explains less of the variance is not used")
    skip_share: float = Field(0.0, ge=0, lt=1, description="part of each run, from its start, that is not fitted")
    draws: int = Field(200, ge=0, description="of the bootstrap behind the intervals")
    new: New = Field("proportional", description="how train tasks share the new tokens: by their size, or equally")

    @model_validator(mode="after")
    def _carries_a_law(self) -> Self:
        enough(self.ratios, self.held_out, MIN_RATIOS)
        return self

    def pilots(self, supply: Supply, seed: int) -> tuple[Trial, ...]:
        """A run at each ratio, for each seed.

        Raises:
            ValueError: there is nothing to replay.
        """
        return trials(self.ratios, self.held_out, self.pilot_tokens, self.seeds, supply, self.new, seed)

    def learn(self, supply: Supply, pilots: Sequence[Pilot], roles: Mapping[str, str], seed: int) -> dict[str, Any]:
        """The law, the critical ratio of the budget, and what the full run will cost.

        Raises:
            ValueError: too few ratios or validations, fits below `min_r2`, or no feasible ratio.
        """
        curves, unseen, groups, law, r2 = self._fitted(pilots, roles)
        tokens = float(supply.budget_tokens)
        choice = choose(law, tokens, self.epsilon)
        if np.isnan(choice.ratio):
            raise ValueError(refusal(law, choice, tokens, self.epsilon))
        drawn = critical.draw_critical(curves, law, self.lambda_, self.draws, seed)
        general = drawn.over_ratios(GENERAL, tokens)
        chosen = np.array([choose(drawn, tokens, self.epsilon, draw, general).ratio for draw in range(self.draws)])
        spread = critical.predicted(drawn, choice.ratio, tokens, self.min_r2)
        rows = held_out_rows(unseen, curves, groups, self._at(law))
        losses = self._losses(law, choice.ratio, tokens)
        return {
            "method": self.method_name(),
            "law": {**critical.written(law), "doubts": doubts(chosen)},
            "ratio": choice.ratio,
            "recommended": by_source(shares_at(choice.ratio, supply, self.new)),
            "predicted": {task: loss for task, loss in losses.items() if task not in GROUPS},
            "intervals": {
                "ratio": interval(chosen),
                "tasks": {task: interval(draws) for task, draws in spread.items() if task not in GROUPS},
            },
            "checks": {
                "r2": r2,
                "held_out": rows,
                "change_error": {group: change_error(rows, group) for group in ("domain", "general")},
                "bound": choice.bound,
                "trusted": trusted(law, choice, tokens, chosen),
                "domain_improves": losses[DOMAIN] < law.starts[DOMAIN],
                "draws_without_a_ratio": int(np.isnan(chosen).sum()),
            },
            "curves": curves_of(law, drawn, curves, unseen, choice, tokens),
            "told": told(law, choice, tokens, self.epsilon) + doubts(chosen),
        }

    def decide(self, supply: Supply, seed: int) -> Decision:
        """The critical ratio of this refresh's budget.

        Raises:
            ValueError: the recipe names no fit, another method's, or no ratio is feasible at this budget.
        """
        content = fitted(self.method_name(), self.fit, supply)
        law, tokens = critical.read(content), float(supply.budget_tokens)
        choice = choose(law, tokens, self.epsilon)
        if np.isnan(choice.ratio):
            raise ValueError(refusal(law, choice, tokens, self.epsilon))
        losses = self._losses(law, choice.ratio, tokens)
        predicted = {task: loss for task, loss in losses.items() if task not in GROUPS}
        reasons = told(law, choice, tokens, self.epsilon) + content["doubts"]
        return decided(choice.ratio, predicted, reasons, supply, self.new)

    def predict(self, content: Mapping[str, Any], ratio: float, tokens: float) -> dict[str, float]:
        """Task -> loss at any ratio after so many tokens, by a fit that `learn` wrote."""
        losses = self._losses(critical.read(content["law"]), ratio, tokens)
        return {task: loss for task, loss in losses.items() if task not in GROUPS}

    def foretold(self, pilots: Sequence[Pilot], roles: Mapping[str, str], seed: int) -> list[dict[str, Any]]:
        """The held-out rows of `checks`, also where no ratio is feasible."""
        curves, unseen, groups, law, _ = self._fitted(pilots, roles)
        return held_out_rows(unseen, curves, groups, self._at(law))

    def _fitted(
        self, pilots: Sequence[Pilot], roles: Mapping[str, str]
    ) -> tuple[list[Curve], list[Curve], dict[str, str], CriticalLaw, dict[str, float]]:
        curves, unseen, groups = observed(pilots, roles, self.skip_share, MIN_RATIOS, MIN_POINTS)
        if len(sizes := {curve.num_parameters for curve in curves}) > 1:
            raise ValueError(
                f"critical-ratio: wanted pilots of one model, found {sorted(sizes)} parameters; use domain-law"
            )
        curves, r2 = critical.well_fitted(curves, groups, self.lambda_, self.min_r2)
        return curves, unseen, groups, critical.fit_critical(curves, groups, self.lambda_, self.min_r2), r2

    def _at(self, law: CriticalLaw) -> Callable[[str, float, float], float]:
        return lambda name, ratio, tokens: self._losses(law, ratio, tokens)[name]

    def _losses(self, law: CriticalLaw, ratio: float, tokens: float) -> dict[str, float]:
        found = critical.predicted(law, ratio, tokens, self.min_r2)
        return {name: float(losses_B[0]) for name, losses_B in found.items()}
