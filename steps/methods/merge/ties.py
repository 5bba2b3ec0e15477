"""Keep the largest changes of every tensor; where several task vectors disagree in sign, the heavier side wins."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from steps.core.method import Cite
from steps.methods.merge import Merge, Sources
from steps.methods.merge._shared import elected_mean, largest, run_of, write_moved

if TYPE_CHECKING:
    import torch


class Ties(Merge):
    """TIES: trim each task vector to its largest entries, elect a sign for every entry, average those that agree.

    Rule:       candidate = parent + weight * mean over the trimmed task vectors that have the elected sign, which is
                that of their sum; trimmed: the `density` largest by magnitude of every tensor, the rest 0

    The task vectors are those of the trained model and of the last `num_checkpoints` checkpoints of its run, each less
    the parent. With one there is nothing to elect: what is left is trimming.

    Units:      weight without unit; density as a share of a tensor's entries
    Reduces to: task-arithmetic at density = 1 with one task vector (exact)
    Differs:    the source trims over a whole model's vector, here every tensor is trimmed by itself, as mergekit and
                peft do; at least one entry of a tensor is kept
    """

    cite: ClassVar[Cite] = Cite(
        title="TIES-Merging: Resolving Interference When Merging Models",
        id="arXiv:2306.01708",
        where="trim, elect sign, disjoint merge; peft's ties and mergekit's ties, version 0.1.5",
        checked="code",
    )

    density: float = Field(0.2, gt=0, le=1, description="share of a tensor's entries that is kept; recalled: 0.2")
    weight: float = Field(1.0, ge=0, le=4, description="factor of the merged task vector")
    num_checkpoints: int = Field(0, ge=0, description="checkpoints of this run that join the trained model")

    def merge(self, sources: Sources, folder: Path) -> Path:
        """Write the parent with what is left of the task vectors into a folder.

        Raises:
            ValueError: the sources do not hold the same tensors, or training kept too few checkpoints.
        """
        return write_moved(sources, run_of(sources, self.num_checkpoints), folder, self._update)

    def _update(self, name: str, deltas: "Sequence[torch.Tensor]") -> "torch.Tensor":
        trimmed = [delta * largest(delta, max(1, int(self.density * delta.numel()))) for delta in deltas]
        return self.weight * (elected_mean(trimmed) if len(trimmed) > 1 else trimmed[0])
