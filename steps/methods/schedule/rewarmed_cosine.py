"""Warm the learning rate up again for new data, then let it fall along a cosine."""

import math
from typing import ClassVar

from pydantic import Field

from steps.core.method import Cite
from steps.methods.schedule import Schedule
from steps.methods.schedule._shared import check_step, rounded_steps


class RewarmedCosine(Schedule):
    """Linear warm-up from zero to the peak over W steps, then half a cosine down to the minimum at the last step E.

    Rule: step <= W: peak * step / W; after: low + (peak - low) / 2 * (1 + cos(pi * (step - W) / (E - W))),
    with low = min_ratio * peak and W = round(warmup_share * E), at least one step if the share is above zero.

    Units:      rate per optimiser step; shares without unit
    Reduces to: the constant schedule at warmup_share = 0 and min_ratio = 1 (exact)
    Differs:    W is a share of this refresh's steps; the formula is that of the public code (gpt-neox), the figures
                for W and the minimum (1 %, a tenth) come from secondary notes on the paper; how re-warming
                works is also studied in arXiv:2308.04014
    """

    cite: ClassVar[Cite] = Cite(
        title="Simple and Scalable Strategies to Continually Pre-train Large Language Models",
        id="arXiv:2403.08763",
        where="the re-warming and re-decaying schedule; EleutherAI/gpt-neox megatron/learning_rates.py",
        checked="code",
    )

    warmup_share: float = Field(0.01, ge=0, lt=1, description="share of the steps that warm up, 0..1")
    min_ratio: float = Field(0.1, ge=0, le=1, description="rate of the last step, as a share of the peak")

    def rate(self, step: int, num_steps: int, peak: float, *, continued: bool = False) -> float:
        """The learning rate of a step.

        Raises:
            ValueError: the step lies outside 1..num_steps.
        """
        check_step("rewarmed-cosine", step, num_steps)
        warmup = rounded_steps(self.warmup_share, num_steps)
        if step <= warmup:
            return peak * step / warmup
        low = self.min_ratio * peak
        return low + (peak - low) / 2 * (1 + math.cos(math.pi * (step - warmup) / (num_steps - warmup)))
