"""A schedule without an end: every refresh goes on at the constant rate, and only its release is annealed."""

import math
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from steps.core.method import Cite
from steps.methods.schedule import Schedule
from steps.methods.schedule._shared import check_step, whole_steps

Cooldown = Literal["linear", "cosine", "inverse-sqrt"]


class Infinite(Schedule):
    """Warm-up, cool-down, constant, anneal. A continued refresh has neither of the first two.

    Rule: with c = constant_ratio * peak, low = min_ratio * peak and the ends W <= C <= K of the first three phases:
    step <= W: peak * step / W; step <= C, with x = (step - W) / (C - W): linear: peak - (peak - c) * x; cosine:
    c + (peak - c) / 2 * (1 + cos(pi * x)); inverse-sqrt: peak + (c - peak) * h(x) / h(1), h(x) = 1 / sqrt(1 +
    timescale * x) - 1; step <= K: c; after: c * (low / c) ** ((step - K) / (E - K)). Continued: c up to K, then the
    same anneal. W, C, K are the whole steps in shares of all steps E, counted from the first; a warm-up takes at least
    one. The model after step K, the plateau, is kept beside the annealed release; the next refresh trains from it.

    Units:      rate per optimiser step; ends as shares of the steps, rates as shares of the peak
    Reduces to: the constant schedule at warmup_end = cooldown_end = 0, constant_end = 1, constant_ratio = 1 (exact)
    Differs:    steps count from 1, so that the last has the minimum itself. Where refresh n + 1 begins is not in the
                code read: `start` has both. The defaults of that code served images; for language models recalled
    """

    cite: ClassVar[Cite] = Cite(
        title="Beyond Cosine Decay: On the effectiveness of Infinite Learning Rate Schedule for Continual Pre-training",
        id="arXiv:2503.02844",
        where="a scheduler file of unknown authorship; EleutherAI/gpt-neox pull request 1194; idea: arXiv:2403.08763",
        checked="code",
    )

    warmup_end: float = Field(0.05, ge=0, le=1, description="where the warm-up ends, as a share of the steps")
    cooldown_end: float = Field(0.15, ge=0, le=1, description="where the cool-down ends, as a share of the steps")
    constant_end: float = Field(0.8, gt=0, le=1, description="where the anneal begins, as a share of the steps")
    cooldown: Cooldown = Field("cosine", description="shape of the cool-down: linear, cosine or inverse-sqrt")
    timescale: float = Field(10.0, gt=0, description="steepness of the inverse-sqrt cool-down; no unit")
    constant_ratio: float = Field(0.1, gt=0, le=1, description="the constant rate, as a share of the peak")
    min_ratio: float = Field(0.01, gt=0, le=1, description="rate of the last step, as a share of the peak")
    start: Literal["plateau", "released"] = Field(
        "plateau", description="what the next refresh trains from: the plateau that was kept, or the released champion"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.warmup_end <= self.cooldown_end <= self.constant_end:
            raise ValueError(
                "infinite: wanted warmup_end <= cooldown_end <= constant_end, found "
                f"{self.warmup_end:g}, {self.cooldown_end:g}, {self.constant_end:g}; they are positions, not lengths"
            )
        if self.min_ratio > self.constant_ratio:
            raise ValueError(
                f"infinite: wanted min_ratio of at most constant_ratio ({self.constant_ratio:g}), found "
                f"{self.min_ratio:g}; an anneal falls"
            )
        return self

    def rate(self, step: int, num_steps: int, peak: float, *, continued: bool = False) -> float:
        """The learning rate of a step.

        Raises:
            ValueError: the step lies outside 1..num_steps.
        """
        check_step("infinite", step, num_steps)
        warmup = max(1, whole_steps(self.warmup_end, num_steps)) if self.warmup_end else 0
        cooldown = max(warmup, whole_steps(self.cooldown_end, num_steps))
        constant, low = self.constant_ratio * peak, self.min_ratio * peak
        if step > (end := self.plateau(num_steps)):
            return float(constant * (low / constant) ** ((step - end) / (num_steps - end)))
        if continued or step > cooldown:
            return constant
        if step <= warmup:
            return peak * step / warmup
        done = (step - warmup) / (cooldown - warmup)
        if self.cooldown == "cosine":
            return constant + (peak - constant) / 2 * (1 + math.cos(math.pi * done))
        fallen = self._inverse(done) / self._inverse(1.0) if self.cooldown == "inverse-sqrt" else done
        return peak - (peak - constant) * fallen

    def plateau(self, num_steps: int) -> int:
        """The last step at the constant rate; the first step at the earliest."""
        return max(1, whole_steps(self.constant_end, num_steps))

    def from_plateau(self) -> bool:
        """Whether the next refresh trains from the plateau."""
        return self.start == "plateau"

    def _inverse(self, done: float) -> float:
        return 1 / math.sqrt(1 + self.timescale * done) - 1
