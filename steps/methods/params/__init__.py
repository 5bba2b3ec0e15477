"""Which parameters training moves, and how the result becomes full weights again.

Two verbs around the training loop: `attach` before it, `finish` after it. Weights are float32 in between. Methods that
steer every step have two more: `gradients` before the optimiser moves, `moved` after it did.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from steps.core.blocks import MicroBatch
from steps.core.method import Method

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass
class Attached:
    """A network that is ready to train."""

    network: Any  # the given one, or one wrapped around it; computes what the given one computed
    trained: "dict[str, torch.Tensor]"  # what the optimiser moves: leaves that require a gradient, by name
    memory: "dict[str, torch.Tensor]" = field(default_factory=dict)  # the method's own, changing; checkpoints hold it
    fixed: "dict[str, torch.Tensor]" = field(default_factory=dict)  # likewise, made anew by `attach`
    optimizer: "torch.optim.Optimizer | None" = None  # of what is trained, once there is one

    switched_off: Callable[[], AbstractContextManager[None]] | None = None  # while it lasts the network is as given

    @classmethod
    def open(cls, network: Any) -> "Attached":
        """A network of which exactly the parameters that require a gradient are trained."""
        named = network.named_parameters()
        return cls(network, {name: parameter for name, parameter in named if parameter.requires_grad})


class Params(Method, ABC):
    """The slot: `attach` before training, `finish` after it; in between, at every step, `gradients` and `moved`."""

    sharded: ClassVar[bool] = False  # whether it works on a network that is cut over several processes
    cost: ClassVar[str] = ""  # what it needs beside full training, as its arithmetic has it

    @abstractmethod
    def attach(self, network: "PreTrainedModel", seed: int, past: "Mapping[str, torch.Tensor]") -> Attached:
        """The network to train. `past`: what `keep` returned at the last accepted refresh; empty the first time."""

    @abstractmethod
    def finish(self, attached: Attached, adapter: Path) -> "PreTrainedModel":
        """The full model with what was learned in its weights; an adapter, if there is one, is kept in its folder."""

    def check(self, attached: Attached, memories: "Mapping[str, Mapping[str, torch.Tensor]]") -> None:
        """Refuse what the optimiser or another method remembers before the first step, by owner, if it cannot hold."""

    def look(self, attached: Attached, batch: MicroBatch) -> None:
        """A micro-batch is about to pass through the network; parts of it may pass again in the backward pass."""

    def penalty(self, attached: Attached) -> "torch.Tensor | None":
        """A term of the step's loss that hangs on the parameters alone."""
        return None

    def gradients(self, attached: Attached, step: int) -> None:
        """The step's gradients are complete and not yet clipped: change them in place."""

    def moved(self, attached: Attached, step: int) -> None:
        """The optimiser has moved what is trained: take back what must not have moved."""

    def keep(self, attached: Attached) -> "dict[str, torch.Tensor]":
        """What the next refresh needs, called before `finish`."""
        return {}
