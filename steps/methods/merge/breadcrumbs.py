"""Leave out the largest and the smallest changes of every tensor."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from steps.core.method import Cite
from steps.methods.merge import Merge, Sources
from steps.methods.merge._shared import largest, mean_of, run_of, write_moved

if TYPE_CHECKING:
    import torch


class Breadcrumbs(Merge):
    """Model Breadcrumbs: changes that are negligible and changes that stick out are both left out.

    Rule:       candidate = parent + weight * mean over the task vectors of mask * delta, where the mask is 0 for the
                `outliers` largest entries by magnitude of every tensor and for the `smallest` smallest, 1 for the rest

    Units:      weight without unit; outliers and smallest as shares of a tensor's entries
    Reduces to: task-arithmetic at outliers = smallest = 0 with one task vector (exact)
    Differs:    the source adds the vectors of several tasks up; those of one run's checkpoints are averaged
    """

    cite: ClassVar[Cite] = Cite(
        title="Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks",
        id="arXiv:2312.06795",
        where="the masks, as mergekit's breadcrumbs, version 0.1.5; its shares are recalled",
        checked="recalled",
    )

    outliers: float = Field(0.01, ge=0, lt=1, description="share of the largest changes of a tensor left out; recalled")
    smallest: float = Field(0.1, ge=0, lt=1, description="share of the smallest changes of a tensor left out; recalled")
    weight: float = Field(1.0, ge=0, le=4, description="factor of the merged task vector")
    num_checkpoints: int = Field(0, ge=0, description="checkpoints of this run that join the trained model")

    @model_validator(mode="after")
    def _leaves_some(self) -> "Breadcrumbs":
        if self.outliers + self.smallest >= 1:
            raise ValueError(
                f"breadcrumbs: outliers + smallest must be below 1, found {self.outliers:g} + {self.smallest:g}: "
                "no change would be left"
            )
        return self

    def merge(self, sources: Sources, folder: Path) -> Path:
        """Write the parent with what is left of the task vectors into a folder.

        Raises:
            ValueError: the sources do not hold the same tensors, or training kept too few checkpoints.
        """
        return write_moved(sources, run_of(sources, self.num_checkpoints), folder, self._update)

    def _update(self, name: str, deltas: "Sequence[torch.Tensor]") -> "torch.Tensor":
        return self.weight * mean_of([self._between(delta) for delta in deltas])

    def _between(self, delta: "torch.Tensor") -> "torch.Tensor":
        number = delta.numel()
        num_outliers, num_smallest = int(self.outliers * number), int(self.smallest * number)
        return delta * (largest(delta, number - num_smallest) - largest(delta, num_outliers))
