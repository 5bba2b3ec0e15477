"""Meet between the parent's weights and the trained ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from steps.core.method import Cite
from steps.methods.merge import Merge, Sources
from steps.methods.merge._shared import write_merged

if TYPE_CHECKING:
    import torch


class Linear(Merge):
    """Linear interpolation of all weights between the parent and the trained model.

    Rule:       candidate = (1 - weight) * parent + weight * trained, for every tensor

    The sum is formed in float32, tensor by tensor, and stored in the trained model's dtype: memory holds one tensor of
    each. Tensors of whole numbers are the trained model's.

    Units:      weight without unit, 0..1
    Reduces to: the trained model at weight = 1, the parent at weight = 0 (exact, where both are stored in one dtype)
    Differs:    the source averages models trained from one parent, here the parent itself is one of the two;
                the same sum is task arithmetic (arXiv:2212.04089) with one task vector scaled by the weight
    """

    cite: ClassVar[Cite] = Cite(
        title="Model soups: averaging weights of multiple fine-tuned models",
        id="arXiv:2203.05482",
        where="the uniform soup, with two unequal ingredients",
        checked="recalled",
    )

    weight: float = Field(0.5, ge=0, le=1, description="share of the trained model, 0..1")

    def merge(self, sources: Sources, folder: Path) -> Path:
        """Write the weights between the two into a folder, in the trained model's files.

        Raises:
            ValueError: the two do not hold the same tensors.
        """
        return write_merged(sources, [sources.trained], folder, self._between)

    def _between(self, name: str, parent: "torch.Tensor", models: "Sequence[torch.Tensor]") -> "torch.Tensor":
        if self.weight == 1:
            return models[0]
        if self.weight == 0:  # without the sum: -0 + 0 would be +0
            return parent
        return (1 - self.weight) * parent.float() + self.weight * models[0].float()
