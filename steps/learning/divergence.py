"""What becomes of a step whose loss is no number or far above those before it: never taken in silence."""

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from steps.core.artifacts import Frozen

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)
LOSSES, COUNTS = "divergence/losses", "divergence/counts"  # in a checkpoint


class Divergence(Frozen):
    """The rule of the recipe's section `train`."""

    no_number: Literal["stop", "skip"] = Field(
        "stop", description="what becomes of a step whose loss or gradient is no number"
    )
    spike: Literal["tell", "skip", "stop"] = Field("tell", description="what becomes of a step whose loss is a spike")
    spike_factor: float = Field(3.0, gt=1, description="a spike is above so many times the median of the last losses")
    spike_nats: float = Field(1.0, ge=0, description="and above that median by so many nats per token")
    window_steps: int = Field(
        20, gt=0, description="steps of that median; before so many were taken nothing is a spike"
    )
    max_skips: int = Field(5, gt=0, description="steps in a row that may be skipped; one more stops")


class Guard:
    """The rule at work: what it has seen is the last losses and how many steps were skipped; checkpoints hold both."""

    def __init__(self, rule: Divergence, advice: str) -> None:
        self.rule = rule
        self._advice = advice
        self._losses: list[float] = []
        self._skipped, self._in_a_row = 0, 0

    def doubt(self, loss: float, nats: float, norm: float) -> str | None:
        """What is wrong with a step: with its whole loss, its nats per token or the norm of its gradient."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            return f"the norm of the gradient is {norm}"
        if len(self._losses) < self.rule.window_steps:
            return None
        ordered = sorted(self._losses)
        middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        if nats > self.rule.spike_factor * middle and nats > middle + self.rule.spike_nats:
            return f"the loss is {nats:.3g} nats per token, the median of {len(ordered)} steps before it {middle:.3g}"
        return None

    def judge(self, step: int, rate: float, loss: float, nats: float, norm: float) -> dict[str, float]:
        """Whether to take a step: what is told of one that is not taken, or that is taken and told as a spike.

        A step is taken if nothing of it is told as `train/skipped`.

        Raises:
            ValueError: the rule says stop, or too many steps in a row were skipped.
        """
        doubt = self.doubt(loss, nats, norm)
        what = "no_number" if not (math.isfinite(loss) and math.isfinite(norm)) else "spike"
        then = getattr(self.rule, what) if doubt else "take"
        said = f"train: at step {step} {doubt} (learning rate {rate:.3g})"
        if then == "skip" and self._in_a_row == self.rule.max_skips:
            raise ValueError(f"{said}, after {self._in_a_row} steps that were skipped; {self._advice}")
        if then == "stop":
            raise ValueError(f"{said}; {self._advice}")
        if then == "skip":
            self._skipped, self._in_a_row = self._skipped + 1, self._in_a_row + 1
            logger.warning("%s; the step is skipped", said)
            return {"train/skipped": float(self._skipped)}
        self._in_a_row = 0
        self._losses = [*self._losses, nats][-self.rule.window_steps :]
        if doubt:
            logger.warning("%s; the step is taken", said)
        return {"train/spike": nats} if doubt else {}

    def tensors(self) -> "dict[str, torch.Tensor]":
        """What a checkpoint holds of it."""
        import torch

        counts = torch.tensor([self._skipped, self._in_a_row])
        return {LOSSES: torch.tensor(self._losses, dtype=torch.float64), COUNTS: counts}

    def restore(self, tensors: "Mapping[str, torch.Tensor]") -> None:
        """Go on as a checkpoint's run did."""
        self._losses = tensors[LOSSES].tolist()
        self._skipped, self._in_a_row = tensors[COUNTS].tolist()
