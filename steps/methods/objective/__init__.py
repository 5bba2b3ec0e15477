"""What training minimises. The objectives of a recipe add up.

`loss` is asked once per micro-batch, so that the values of a step's micro-batches sum to the step's; `penalty` once per
step, for what hangs on the parameters alone; `begin` once, before the first step.
"""

from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from steps.core.blocks import Blocks
from steps.core.forward import Seen
from steps.core.method import Method

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Start:
    """What an objective may look at before the first step."""

    network: Any  # as it will be trained
    parent: Callable[[], Any]  # the released champion, frozen; loaded when asked
    trained: "Mapping[str, torch.Tensor]"  # what the optimiser will move, by name
    blocks: Blocks
    past: "Mapping[str, torch.Tensor]"  # what `keep` returned at the last accepted refresh
    device: Any
    micro_batch_blocks: int
    params: str  # the name of the `params` method


class Objective(Method, ABC):
    """The slot: one term of the loss, in nats per token or its own unit."""

    hidden: ClassVar[bool] = False  # whether it reads `seen.hidden_NM`, the network's or a teacher's
    teachers: ClassVar[tuple[str, ...]] = ()  # whom it asks: `parent`; `slow`: the optimiser's average

    def begin(self, start: Start) -> "dict[str, torch.Tensor]":
        """Tensors that the later verbs need; checkpoints hold them.

        Raises:
            ValueError: this objective makes no sense with these parameters or this training set.
        """
        return {}

    def loss(self, seen: Seen, memory: "dict[str, torch.Tensor]") -> "torch.Tensor | None":
        """This term's part of a micro-batch; none: nothing here concerns it."""
        return None

    def penalty(
        self, trained: "Mapping[str, torch.Tensor]", memory: "dict[str, torch.Tensor]"
    ) -> "torch.Tensor | None":
        """A term of the step's loss that hangs on the parameters alone."""
        return None

    def keep(self, memory: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
        """What the next refresh needs."""
        return {}
