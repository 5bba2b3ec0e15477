"""Release a moving average of the path that training takes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from steps.core.method import Cite
from steps.methods.optimizer._shared import TorchAdam

if TYPE_CHECKING:
    import torch


class Ema(TorchAdam):
    """AdamW with a fast and a slow memory: AdamW moves the fast one, the slow one follows and is released.

    Rule:       slow_0 = fast_0;  after step t:  slow <- l slow + (1 - l) fast,
                l = min(slow_weight, (1 + t) / (warm_up_steps + t))
    Units:      weight per optimiser step: the slow memory looks back over about 1 / (1 - slow_weight) steps
    Reduces to: adamw at slow_weight = 0 (exact)
    Differs:    with `params: lora` these are I-LoRA's two memories; its consistency of the two on replayed text is an
                objective with `teacher: slow`. The authors' code (which47/LLMCL, method/ILORA.py) takes
                l = min(1 - 1 / (t + 1), 0.25), starts its slow adapter at random and saves the fast one; our l is
                recalled (0.99), both memories start at the parent, and the slow one is released. AdamW's moments are
                those of the fast memory. The next refresh starts both anew, at what was released.
    """

    cite: ClassVar[Cite] = Cite(
        title="Analyzing and Reducing Catastrophic Forgetting in Parameter Efficient Tuning",
        id="arXiv:2402.18865",
        where="long-term memory as an exponential moving average; value of the coefficient recalled",
        checked="recalled",
    )
    cost: ClassVar[str] = "a copy of what is trained, in memory and in every checkpoint"
    sharded: ClassVar[bool] = True

    slow_weight: float = Field(0.99, ge=0, lt=1, description="of the slow memory in its next value, per step")
    warm_up_steps: int = Field(
        0, ge=0, description="the slow memory's weight at step t is at most (1 + t) / (this + t); 0: always the same"
    )

    def begin(self, trained: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
        """The slow memory, where the fast one is."""
        return {name: tensor.detach().clone() for name, tensor in trained.items()}

    def moved(self, trained: "Mapping[str, torch.Tensor]", memory: "dict[str, torch.Tensor]", step: int) -> None:
        """The slow memory follows."""
        weight = min(self.slow_weight, (1 + step) / (self.warm_up_steps + step))
        for name, tensor in trained.items():
            memory[name].lerp_(tensor.detach(), 1 - weight)

    def slow(self, memory: "Mapping[str, torch.Tensor]") -> "Mapping[str, torch.Tensor]":
        """The slow memory."""
        return memory

    def released(
        self, trained: "Mapping[str, torch.Tensor]", memory: "dict[str, torch.Tensor]"
    ) -> "Mapping[str, torch.Tensor]":
        """The slow memory."""
        return memory
