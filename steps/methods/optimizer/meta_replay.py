"""Replay with meta-learning: now and then, go back most of the way."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from steps.core.method import Cite
from steps.methods.optimizer._shared import TorchAdam

if TYPE_CHECKING:
    import torch

SINCE, BEFORE = "since", "before/"


class MetaReplay(TorchAdam):
    """Meta-experience replay: AdamW on new and replayed text, and Reptile's interpolation every so many steps.

    Rule:       every interval_steps:  theta <- theta_before + interpolation (theta - theta_before), then
                theta_before <- theta
    Units:      interpolation: share of the way taken in an interval that is kept
    Reduces to: adamw at interpolation = 1 (exact)
    Differs:    AdamW's moments are kept at an interpolation; the sources do not say. An interval that the end of
                training cuts off is interpolated like the others (`last_interval`), so that a run shorter than an
                interval is not silently plain AdamW. The two known values of the interpolation are 0.1 (a summary of
                the paper) and 0.01 (code of the same group, `reptile_beta`): none is trusted, the knob is required.
                Alg. 1 of the first MER (arXiv:1810.11910) has a second interpolation, within a batch: not here.

    To second order, k steps of SGD at rate b on losses L_i move theta by -(b sum g_i - b^2 sum_{j<i} H_i g_j). On
    average over the order of the steps the second term is along the gradient of g_i . g_j: the way of some steps leads
    to where gradients agree. New and replayed text has to take turns within an interval for that:
    `mix.order: {method: interleaved}` or `shuffled`.
    """

    cite: ClassVar[Cite] = Cite(
        title="Revisiting Replay and Gradient Alignment for Continual Pre-Training of Large Language Models",
        id="arXiv:2508.01908",
        where="interpolation every k = 500 steps; values as summarised, not read in the paper",
        checked="secondary",
    )
    cost: ClassVar[str] = "replayed text, in turns with new text; a copy of what is trained, in memory and checkpoints"
    sharded: ClassVar[bool] = True

    interpolation: float = Field(gt=0, le=1, description="share of an interval's way that is kept; no default is known")
    interval_steps: int = Field(500, gt=0, description="optimiser steps from one interpolation to the next")
    last_interval: Literal["interpolate", "keep"] = Field(
        "interpolate", description="what becomes of the way since the last interpolation when training ends"
    )

    def begin(self, trained: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
        """Where the interval began; nothing if all of the way is kept."""
        import torch

        if self.interpolation == 1:
            return {}
        before = {f"{BEFORE}{name}": tensor.detach().clone() for name, tensor in trained.items()}
        return before | {SINCE: torch.tensor(0)}

    def moved(self, trained: "Mapping[str, torch.Tensor]", memory: "dict[str, torch.Tensor]", step: int) -> None:
        """Count the step; interpolate if it ends an interval."""
        if memory:
            memory[SINCE] += 1
            if int(memory[SINCE]) == self.interval_steps:
                self._interpolate(trained, memory)

    def released(
        self, trained: "Mapping[str, torch.Tensor]", memory: "dict[str, torch.Tensor]"
    ) -> "Mapping[str, torch.Tensor]":
        """What was trained, its last interval interpolated too."""
        if memory and int(memory[SINCE]) and self.last_interval == "interpolate":
            self._interpolate(trained, memory)
        return trained

    def doubts(self, num_replayed: Sequence[int]) -> str | None:
        """Text that is not replayed, or not in every interval."""
        if not any(num_replayed):
            return (
                "meta-replay aligns new with replayed text, and nothing is replayed; raise the mixture's replay_share"
            )
        whole = range(self.interval_steps, len(num_replayed) + 1, self.interval_steps)
        without = [last for last in whole if not any(num_replayed[last - self.interval_steps : last])]
        if without:
            first = without[0] - self.interval_steps + 1
            return (
                f"meta-replay aligns text within an interval, and steps {first} to {without[0]} replay nothing; "
                "use mix.order: {method: interleaved}"
            )
        return None

    def _interpolate(self, trained: "Mapping[str, torch.Tensor]", memory: "dict[str, torch.Tensor]") -> None:
        import torch

        with torch.no_grad():
            for name, tensor in trained.items():
                before = memory[f"{BEFORE}{name}"]
                tensor.copy_(torch.lerp(before, tensor, self.interpolation))
                before.copy_(tensor)
        memory[SINCE].zero_()
