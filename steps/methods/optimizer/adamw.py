"""Adam with decoupled weight decay."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from steps.core.method import Cite
from steps.methods.optimizer import Optimizer

if TYPE_CHECKING:
    import torch


class Adamw(Optimizer):
    """AdamW, as torch computes it.

    Rule:       m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;
                theta <- (1 - rate * weight_decay) theta - rate * m_hat / (sqrt(v_hat) + epsilon)
    Units:      rate per optimiser step; decay per step and rate, towards 0, not towards the parent
    Reduces to: Adam at weight_decay = 0 (exact)
    Differs:    all trained parameters decay, norms and embeddings too
    """

    cite: ClassVar[Cite] = Cite(
        title="Decoupled Weight Decay Regularization", id="arXiv:1711.05101", where="alg. 2", checked="recalled"
    )

    betas: tuple[float, float] = Field((0.9, 0.95), description="for the mean and the square of the gradient")
    epsilon: float = Field(1e-8, gt=0, description="added to the root of the square")
    weight_decay: float = Field(0.0, ge=0, description="per step and rate; pulls towards 0, not the parent")
    fused: bool = Field(False, description="one kernel for all tensors: faster, other rounding")

    def make(self, trained: "Mapping[str, torch.Tensor]", learning_rate: float) -> "torch.optim.Optimizer":
        """torch's AdamW."""
        import torch

        knobs = {"betas": self.betas, "eps": self.epsilon, "weight_decay": self.weight_decay}
        return torch.optim.AdamW(list(trained.values()), learning_rate, **knobs, fused=self.fused or None)
