"""Fit the text where the model already half believes it, and stay near the parent."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from steps.core.forward import Seen
from steps.core.method import Cite
from steps.methods.objective import Objective

if TYPE_CHECKING:
    import torch


class AnchoredSft(Objective):
    """Each token's loss times its own probability, and a light KL to the parent; it stands for next-token, not beside.

    Rule:       1/N * sum over tokens t of -sg(p_t)^power log p_t + weight * KL, where p_t = p(x_t | x_<t), sg stops
                the gradient, and KL is of all probabilities before t: to-parent KL(p || p_parent), or from-parent
                KL(p_parent || p)

    Tokens that the model does not expect hardly count. That suits supervised rows, which it already half believes; new
    text of another kind teaches it little, and its mean loss there can rise.

    Shapes:     N tokens of a step, however they fall into micro-batches
    Units:      nats per token
    Reduces to: next-token at power 0 and weight 0 (exact); dynamic fine-tuning (DFT) at weight 0
    Differs:    to-parent and 0.05 are recalled of the paper; its code (train_v2.py) computes from-parent, 0.1
    """

    cite: ClassVar[Cite] = Cite(
        title="Anchored Supervised Fine-Tuning",
        id="arXiv:2509.23753",
        where="the loss of mode asft; zhuchichi56/ASFT train_v2.py EnhancedTrainer.compute_loss",
        checked="code",
    )
    sharded: ClassVar[bool] = True
    fits_text: ClassVar[bool] = True
    cost: ClassVar[str] = "its forward pass over all blocks at each step, and all logits of both"

    weight: float = Field(0.05, ge=0, description="of the KL; no unit")
    power: float = Field(1.0, ge=0, description="of a token's probability, as the weight of its loss; no unit")
    direction: Literal["to-parent", "from-parent"] = Field(
        "to-parent", description="of the KL: to-parent weighs by the model's probabilities, from-parent by the parent's"
    )

    @property
    def logits(self) -> bool:
        """For the KL."""
        return self.weight > 0

    @property
    def teachers(self) -> tuple[str, ...]:
        """The parent, unless its part counts nothing."""
        return ("parent",) if self.weight else ()

    def loss(self, seen: Seen, memory: "dict[str, torch.Tensor]") -> "torch.Tensor | None":
        """The micro-batch's part of the mean."""
        from steps.core.relative_entropy import relative_entropy

        sure_N = (-self.power * seen.nats_N.detach()).exp()
        fitted = (sure_N * seen.nats_N).sum() / seen.facts.num_losses
        if not self.weight:
            return fitted
        old = seen.teacher("parent", "all")
        assert old is not None, "a micro-batch has tokens that carry loss"
        apart = relative_entropy(seen.logits_NV, old.logits, of_new=self.direction == "to-parent")
        return fitted + self.weight * apart / seen.facts.num_losses
