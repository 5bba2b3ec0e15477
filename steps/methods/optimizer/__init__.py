"""How gradients become steps, and what is made of the path that the parameters take.

`make` gives the optimiser; `moved` is asked after each of its steps; `released` says what is released at the end.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from steps.core.method import Method

if TYPE_CHECKING:
    import torch


class Optimizer(Method, ABC):
    """The slot. `trained`: leaf tensors by name; the learning rate is set by the schedule before every step."""

    cost: ClassVar[str] = ""  # what it needs beside AdamW, as its arithmetic has it
    sharded: ClassVar[bool] = False  # whether it works on tensors that are cut over several processes

    @abstractmethod
    def make(self, trained: "Mapping[str, torch.Tensor]", learning_rate: float) -> "torch.optim.Optimizer":
        """A torch optimiser over the trained tensors."""

    def begin(self, trained: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
        """Tensors that the later verbs need and change; checkpoints hold them."""
        return {}

    def moved(self, trained: "Mapping[str, torch.Tensor]", memory: "dict[str, torch.Tensor]", step: int) -> None:
        """A step was taken: change the trained tensors or the memory in place."""

    def doubts(self, num_replayed: Sequence[int]) -> str | None:
        """What of a training set does not suit the rule, to be told; `num_replayed`: replayed loss tokens by step."""
        return None

    def slow(self, memory: "Mapping[str, torch.Tensor]") -> "Mapping[str, torch.Tensor] | None":
        """The average that objectives may ask as the teacher `slow`, by name; none: there is none."""
        return None

    def released(
        self, trained: "Mapping[str, torch.Tensor]", memory: "dict[str, torch.Tensor]"
    ) -> "Mapping[str, torch.Tensor]":
        """What is written as the new model, by name; asked again of what it gave, it gives the same."""
        return trained
