"""The share of new text that a surface of loss over model size, tokens and ratio makes best."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from steps.core.curves import GENERAL, GROUPS, change_error, held_out_rows
from steps.core.domain_laws import Laws, best_ratio, draw_laws, fit_laws
from steps.core.domain_report import curves_of, refusal, rises, told, unfit
from steps.core.laws import interval
from steps.core.method import Cite
from steps.methods.mixture import Decision, Fit, Pilot, Supply, Trial
from steps.methods.mixture._ratios import New, OverRatios, Ratios, decided, enough, observed, shares_at, trials
from steps.methods.mixture._sources import by_source, fitted

MIN_RATIOS = 4  # C / (r + epsilon)^gamma beside a constant has four parameters
MIN_POINTS = 3  # validations of a run


class DomainLaw(OverRatios):
    """The domain law (D-CPT) of pilots on the user's own model and text.

    Rule:       L(N, D, r) = E + A / N^alpha + B r^eta / D^beta + C / (r + epsilon)^gamma, for domain loss with
                r = r_d, general loss with r = 1 - r_d; r_d* = argmin L_d with general loss up by at most `tolerance`
    Units:      N parameters; D loss tokens; r share of loss tokens; losses nats per token
    Differs:    D counts loss tokens; every validation of a run but the start is a point; several tasks of a role count
                by their mean; the ratio stays within those tested; with one model size A / N^alpha is left out
    Reduces to: E + C / (r + epsilon)^gamma at one N and one D (close); `fixed` at the recommended share (exact)
    """

    min_points: ClassVar[int] = MIN_POINTS
    cite: ClassVar[Cite] = Cite(
        title="D-CPT Law: Domain-specific Continual Pre-Training Scaling Law for Large Language Models",
        id="arXiv:2406.01375",
        where="form L3 and the uses trade-off and limited domain data; delta and the starts are recalled",
        checked="secondary",
    )

    fit: Fit | None = Field(None, description="the law that `perennial pilot` fitted")
    aim: Literal["trade-off", "limited"] = Field(
        "trade-off", description="trade-off: of the whole budget; limited: new text ends the run where it runs out"
    )
    tolerance: float | None = Field(
        0.03, ge=0, description="general loss may rise by this part of its start; none: by anything (aim limited only)"
    )
    domain_tokens: int | None = Field(
        None, gt=0, description="aim limited: tokens of new text; none: those at hand, repeated up to plan.max_epochs"
    )
    ratios: Ratios = Field((0.15, 0.3, 0.5, 0.7, 0.85, 1.0), description="shares of new text of the pilots")
    held_out: Ratios = Field((0.7,), description="of these ratios, those that are not fitted but predicted")
    pilot_tokens: int | None = Field(None, gt=0, description="loss tokens of each pilot; none: a quarter of the budget")
    seeds: int = Field(1, ge=1, description="pilots at each ratio; with two or more the intervals show their spread")
    huber_delta: float = Field(1e-3, gt=0, description="of log loss: larger misses count linearly (recalled); no unit")
    starts: int = Field(8, ge=1, description="of L-BFGS for each fit, the best of 300 drawn (recalled)")
    min_r2: float = Field(0.8, ge=0, le=1, description="a fit that explains less of the variance is not used")
    skip_share: float = Field(0.1, ge=0, lt=1, description="part of each run, from its start, that is not fitted")
    draws: int = Field(60, ge=0, description="of the bootstrap behind the intervals")
    new: New = Field("proportional", description="how train tasks share the new tokens: by their size, or equally")

    @model_validator(mode="after")
    def _carries_a_law(self) -> Self:
        enough(self.ratios, self.held_out, MIN_RATIOS)
        if self.tolerance is None and self.aim == "trade-off":
            raise ValueError("aim trade-off wants a tolerance: without one the best share of new text is all of it")
        return self

    def pilots(self, supply: Supply, seed: int) -> tuple[Trial, ...]:
        """A run at each ratio, for each seed.

        Raises:
            ValueError: there is nothing to replay.
        """
        return trials(self.ratios, self.held_out, self.pilot_tokens, self.seeds, supply, self.new, seed)

    def learn(self, supply: Supply, pilots: Sequence[Pilot], roles: Mapping[str, str], seed: int) -> dict[str, Any]:
        """Both surfaces, the best ratio of the budget, and what the full run will cost.

        Raises:
            ValueError: too few ratios or validations, a fit below `min_r2`, or no ratio within the tolerance.
        """
        curves, unseen, groups = observed(pilots, roles, self.skip_share, MIN_RATIOS, MIN_POINTS)
        laws, r2 = fit_laws(curves, groups, self.huber_delta, self.starts, seed, self.min_r2)
        if message := unfit(curves, r2, self.min_r2):
            raise ValueError(message)
        size, (ratio, tokens) = supply.num_parameters, self._chosen(laws, supply)
        drawn = draw_laws(curves, laws, self.huber_delta, self.draws, seed)
        chosen = np.array([self._best(draw, supply) for draw in drawn])
        losses, spread = laws.losses(size, tokens, ratio), [draw.losses(size, tokens, ratio) for draw in drawn]
        sizes = max(curve.num_parameters for curve in curves)
        rows = held_out_rows(unseen, curves, groups, lambda name, r, t: float(laws.at(name, sizes, t, r)))
        monotone = {group: place is None for group, place in rises(laws, tokens).items()}
        return {
            "method": self.method_name(),
            "law": laws.written(),
            "ratio": ratio,
            "recommended": by_source(shares_at(ratio, supply, self.new)),
            "predicted": {task: loss for task, loss in losses.items() if task not in GROUPS},
            "intervals": {
                "ratio": interval(chosen),
                "tasks": {task: interval(np.array([d[task] for d in spread])) for task in groups if task not in GROUPS},
            },
            "checks": {
                "r2": {GROUPS.get(name, name): found for name, found in r2.items()},
                "held_out": rows,
                "change_error": {group: change_error(rows, group) for group in GROUPS.values()},
                "monotone": monotone,
                "trusted": all(monotone.values()),
                "draws_without_a_ratio": int(np.isnan(chosen).sum()),
            },
            "curves": curves_of(laws, drawn, curves, unseen, tokens, ratio),
            "told": told(laws, ratio, size, tokens, self.tolerance),
        }

    def decide(self, supply: Supply, seed: int) -> Decision:
        """The best ratio of this refresh's budget and, under the aim `limited`, of its new text.

        Raises:
            ValueError: the recipe names no fit, another method's, or no ratio keeps the tolerance.
        """
        laws = Laws.read(fitted(self.method_name(), self.fit, supply))
        size, (ratio, tokens) = supply.num_parameters, self._chosen(laws, supply)
        predicted = {task: loss for task, loss in laws.losses(size, tokens, ratio).items() if task not in GROUPS}
        return decided(ratio, predicted, told(laws, ratio, size, tokens, self.tolerance), supply, self.new)

    def predict(self, content: Mapping[str, Any], ratio: float, tokens: float) -> dict[str, float]:
        """Task -> loss at any ratio after so many tokens, by a fit that `learn` wrote, of the model that was run."""
        laws = Laws.read(content["law"])
        losses = laws.losses(laws.surfaces[GENERAL].unit_parameters, tokens, ratio)
        return {task: loss for task, loss in losses.items() if task not in GROUPS}

    def _chosen(self, laws: Laws, supply: Supply) -> tuple[float, float]:
        """The ratio, and the tokens after which the run ends."""
        ratio, text = self._best(laws, supply), self._text(supply)
        if np.isnan(ratio):
            raise ValueError(refusal(laws, supply.num_parameters, supply.budget_tokens, self.tolerance or 0.0))
        return ratio, min(supply.budget_tokens, text / ratio) if text else supply.budget_tokens

    def _best(self, laws: Laws, supply: Supply) -> float:
        limit = None if self.tolerance is None else (1 + self.tolerance) * laws.starts[GENERAL]
        size, tokens = supply.num_parameters, supply.budget_tokens
        return best_ratio(laws.surfaces, size, tokens, laws.ratios, limit, self._text(supply))

    def _text(self, supply: Supply) -> float | None:
        if self.aim == "trade-off":
            return None
        return self.domain_tokens or supply.max_epochs * sum(supply.new.values())
