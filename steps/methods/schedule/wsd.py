"""Warm up, stay at the peak for most of the run, decay at its end."""

import math
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from steps.core.method import Cite
from steps.methods.schedule import Schedule
from steps.methods.schedule._shared import check_step, rounded_steps

Decay = Literal["sqrt", "linear", "exponential"]


class Wsd(Schedule):
    """Warm-up, stable, decay: W steps of linear warm-up, the peak, D steps of decay to the minimum at the last step E.

    Rule: step <= W: peak * step / W; up to E - D: peak; after, with x = (step - E + D) / D and low = min_ratio * peak:
    sqrt: low + (peak - low) * (1 - sqrt(x)); linear: low + (peak - low) * (1 - x);
    exponential: peak * min_ratio ** x. W = round(warmup_share * E), D = round(decay_share * E), each at least one step
    if its share is above zero; where both do not fit, the warm-up stays and the decay is shortened.

    Units:      rate per optimiser step; shares without unit
    Reduces to: the constant schedule at warmup_share = decay_share = 0 (exact); the linear one without warm-up at
                warmup_share = 0, decay_share = 1, decay: linear (exact)
    Differs:    ends at a tenth of the peak by default, so that the last step moves something too; the sources end at
                zero or at a tenth. The shares and the shapes are recalled, hence knobs
    """

    cite: ClassVar[Cite] = Cite(
        title="MiniCPM: Unveiling the Potential of Small Language Models with Scalable Training Strategies",
        id="arXiv:2404.06395",
        where="the WSD schedule; the decay 1 - sqrt(x) is that of arXiv:2405.18392",
        checked="recalled",
    )

    warmup_share: float = Field(0.01, ge=0, lt=1, description="share of the steps that warm up, 0..1")
    decay_share: float = Field(0.2, ge=0, le=1, description="share of the steps that decay, 0..1")
    decay: Decay = Field("sqrt", description="shape of the decay: sqrt (1 - sqrt(x)), linear or exponential")
    min_ratio: float = Field(0.1, ge=0, le=1, description="rate of the last step, as a share of the peak")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.warmup_share + self.decay_share > 1:
            raise ValueError(
                f"wsd: wanted warmup_share + decay_share of at most 1, found {self.warmup_share:g} + "
                f"{self.decay_share:g}; lower one of them"
            )
        if self.decay == "exponential" and self.min_ratio == 0:
            raise ValueError("wsd: an exponential decay never reaches min_ratio 0; give a larger one, say 0.01")
        return self

    def rate(self, step: int, num_steps: int, peak: float, *, continued: bool = False) -> float:
        """The learning rate of a step.

        Raises:
            ValueError: the step lies outside 1..num_steps.
        """
        check_step("wsd", step, num_steps)
        warmup = rounded_steps(self.warmup_share, num_steps)
        decay = min(rounded_steps(self.decay_share, num_steps), num_steps - warmup)
        if step <= warmup:
            return peak * step / warmup
        if step <= num_steps - decay:
            return peak
        done = (step - num_steps + decay) / decay
        if self.decay == "exponential":
            return float(peak * self.min_ratio**done)
        low = self.min_ratio * peak
        return low + (peak - low) * (1 - (done if self.decay == "linear" else math.sqrt(done)))
