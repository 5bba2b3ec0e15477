"""Predict the next token."""

from typing import TYPE_CHECKING, ClassVar

from steps.core.forward import Seen
from steps.core.method import Cite
from steps.methods.objective import Objective

if TYPE_CHECKING:
    import torch


class NextToken(Objective):
    """The mean cross-entropy of the tokens that carry loss, over the whole step.

    Rule:       loss = 1/N * sum over tokens t of -log p(x_t | x_<t)
    Shapes:     N tokens of a step, however they fall into micro-batches and devices
    Units:      nats per token
    Reduces to: itself: it has no knob (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="Maximum likelihood of the next token", id="ours", where="this file", checked="code"
    )

    fits_text: ClassVar[bool] = True
    sharded: ClassVar[bool] = True

    def loss(self, seen: Seen, memory: "dict[str, torch.Tensor]") -> "torch.Tensor | None":
        """The micro-batch's part of the mean."""
        return seen.nats_N.sum() / seen.facts.num_losses
