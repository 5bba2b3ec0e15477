"""AdamW and its knobs, for itself and for the methods that wrap it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from steps.methods.optimizer import Optimizer

if TYPE_CHECKING:
    import torch


class Adam(Optimizer):
    """What decides a step of AdamW."""

    betas: tuple[float, float] = Field((0.9, 0.95), description="for the mean and the square of the gradient")
    epsilon: float = Field(1e-8, gt=0, description="added to the root of the square")
    weight_decay: float = Field(0.0, ge=0, description="per step and rate; pulls towards 0, not the parent")
    decay: Literal["all", "matrices"] = Field("all", description="what decays; matrices: not norms and biases")

    def groups(self, trained: "Mapping[str, torch.Tensor]") -> list[dict[str, Any]]:
        """The trained tensors with the decay of each."""
        if self.decay == "all" or not self.weight_decay:
            return [{"params": list(trained.values()), "weight_decay": self.weight_decay}]
        matrices = [tensor for tensor in trained.values() if tensor.ndim > 1]
        others = [tensor for tensor in trained.values() if tensor.ndim <= 1]
        parts = ((matrices, self.weight_decay), (others, 0.0))
        return [{"params": tensors, "weight_decay": decay} for tensors, decay in parts if tensors]


class TorchAdam(Adam):
    """AdamW as torch computes it."""

    fused: bool = Field(False, description="one kernel for all tensors: faster, other rounding")

    def make(self, trained: "Mapping[str, torch.Tensor]", learning_rate: float) -> "torch.optim.Optimizer":
        """torch's AdamW."""
        import torch

        knobs = {"betas": self.betas, "eps": self.epsilon}
        return torch.optim.AdamW(self.groups(trained), learning_rate, **knobs, fused=self.fused or None)
