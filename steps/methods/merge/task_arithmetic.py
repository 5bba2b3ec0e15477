"""Add what training changed to the parent, more or less of it; or take it away."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from steps.core.method import Cite
from steps.methods.merge import Merge, Sources
from steps.methods.merge._shared import write_moved

if TYPE_CHECKING:
    import torch


class TaskArithmetic(Merge):
    """The parent plus, or minus, the task vector of this refresh, scaled.

    Rule:       candidate = parent + weight * (trained - parent) to add, parent - weight * (trained - parent) to negate

    A weight above 1 goes further than training did. To negate is to train on what the model shall not do, and to take
    that away.

    Units:      weight without unit
    Reduces to: linear at a weight of 0..1 (close), the parent at weight = 0 (exact)
    Differs:    the source adds vectors of several tasks; here a refresh has one, trained on all of its tasks
    """

    cite: ClassVar[Cite] = Cite(
        title="Editing Models with Task Arithmetic",
        id="arXiv:2212.04089",
        where="negation and addition; peft's task_arithmetic",
        checked="code",
    )

    operation: Literal["add", "negate"] = Field("add", description="what is done with the task vector")
    weight: float = Field(1.0, ge=0, le=4, description="factor of the task vector; above 1: further than training went")

    def merge(self, sources: Sources, folder: Path) -> Path:
        """Write the parent with the scaled task vector into a folder.

        Raises:
            ValueError: the two do not hold the same tensors.
        """
        return write_moved(sources, [sources.trained], folder, self._update)

    def _update(self, name: str, deltas: "Sequence[torch.Tensor]") -> "torch.Tensor":
        return (self.weight if self.operation == "add" else -self.weight) * deltas[0]
