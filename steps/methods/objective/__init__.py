"""What training minimises. The objectives of a recipe add up.

`loss` is asked once per micro-batch, so that the values of a step's micro-batches sum to the step's; `penalty` once per
step, for what hangs on the parameters alone; `begin` once, before the first step. What a method needs (old text,
teachers, hidden states) and costs it says of itself.
"""

from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from steps.core.blocks import Blocks
from steps.core.forward import Seen, Teacher
from steps.core.method import Method

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Start:
    """What an objective may look at before the first step."""

    network: Any  # as it will be trained
    parent: Callable[[], Any]  # the released champion, a network of its own, frozen; every call loads it
    teachers: "Mapping[str, Teacher]"  # to be asked; those that no objective asks at every step are let go afterwards
    trained: "Mapping[str, torch.Tensor]"  # what the optimiser will move, by name
    blocks: Blocks
    past: "Mapping[str, torch.Tensor]"  # what `keep` returned at the last accepted refresh
    device: Any
    micro_batch_blocks: int
    params: str  # the name of the `params` method


class Objective(Method, ABC):
    """The slot: one term of the loss, in nats per token or its own unit."""

    sharded: ClassVar[bool] = False  # whether it works on a network that is cut over several processes
    hidden: ClassVar[bool] = False  # whether it reads `seen.hidden_NM`, the network's or a teacher's
    fits_text: ClassVar[bool] = False  # whether it is itself the loss of the text: a recipe has one of these at most
    cost: ClassVar[str] = "nothing beside the step itself"  # passes, memory and disk, as its arithmetic has it

    @property
    def logits(self) -> bool:
        """Whether it reads `seen.logits_NV` or a teacher's: then they are made once and whole."""
        return False

    @property
    def teachers(self) -> tuple[str, ...]:
        """Whom it asks at every step: `parent`; `slow`: the optimiser's average."""
        return ()

    @property
    def needs_replay(self) -> bool:
        """Whether it is refused where the training set holds nothing that is replayed."""
        return False

    def begin(self, start: Start) -> "dict[str, torch.Tensor]":
        """Tensors that the later verbs need; checkpoints hold them.

        Raises:
            ValueError: this objective makes no sense with these parameters or this training set.
        """
        return {}

    def told(self, memory: "Mapping[str, torch.Tensor]") -> dict[str, float]:
        """What a person should know of the memory that `begin` made: reported once, before the first step."""
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


def that_add_up(objectives: Sequence[Objective]) -> Sequence[Objective]:
    """Objectives whose sum makes sense.

    Raises:
        ValueError: one is named twice, or two of them are each the loss of the text.
    """
    names = [one.method_name() for one in objectives]
    if len(set(names)) != len(names):
        raise ValueError(f"train.objective: wanted each method once, found {', '.join(names)}; leave one out")
    of_text = [one.method_name() for one in objectives if one.fits_text]
    if len(of_text) > 1:
        raise ValueError(
            f"train.objective: {' and '.join(of_text)} are each the loss of the text and would count it twice; keep one"
        )
    return objectives
