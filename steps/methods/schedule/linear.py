"""Warm the learning rate up, then let it fall along a straight line."""

from typing import ClassVar

from pydantic import Field

from steps.core.method import Cite
from steps.methods.schedule import Schedule
from steps.methods.schedule._shared import check_step, rounded_steps


class Linear(Schedule):
    """Linear warm-up from zero to the peak over W steps, then a straight line to the minimum at the last step E.

    Rule: step <= W: peak * step / W; after: low + (peak - low) * (1 - (step - W) / (E - W)),
    with low = min_ratio * peak and W = round(warmup_share * E), at least one step if the share is above zero.

    Units:      rate per optimiser step; shares without unit
    Reduces to: the constant schedule at warmup_share = 0 and min_ratio = 1 (exact)
    Differs:    nothing to differ from; the shape is common. It ends at a tenth of the peak by default, not at zero,
                so that the last step moves something too
    """

    cite: ClassVar[Cite] = Cite(title="Linear warm-up and decay", id="ours", where="this file", checked="code")

    warmup_share: float = Field(0.01, ge=0, lt=1, description="share of the steps that warm up, 0..1")
    min_ratio: float = Field(0.1, ge=0, le=1, description="rate of the last step, as a share of the peak")

    def rate(self, step: int, num_steps: int, peak: float, *, continued: bool = False) -> float:
        """The learning rate of a step.

        Raises:
            ValueError: the step lies outside 1..num_steps.
        """
        check_step("linear", step, num_steps)
        warmup = rounded_steps(self.warmup_share, num_steps)
        if step <= warmup:
            return peak * step / warmup
        low = self.min_ratio * peak
        return low + (peak - low) * (1 - (step - warmup) / (num_steps - warmup))
