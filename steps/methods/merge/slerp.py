"""Meet between the parent's weights and the trained ones, on the arc between them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from steps.core.method import Cite
from steps.methods.merge import Merge, Sources
from steps.methods.merge._shared import write_merged

if TYPE_CHECKING:
    import torch

PARALLEL = 0.9995  # mergekit's dot_threshold: |cosine| above which the chord is taken for the arc
SMALLEST_NORM = 1e-8


class Slerp(Merge):
    """Spherical interpolation of every tensor between the parent and the trained model.

    Rule:       candidate = sin((1 - weight) * a) / sin(a) * parent + sin(weight * a) / sin(a) * trained, where a is the
                angle between the two as flat vectors; on the straight line where |cos a| > 0.9995

    A refresh moves weights by a few per cent of their norm, so nearly every tensor takes the straight line: it differs
    from `linear` only where training went far.

    Units:      weight without unit, 0..1
    Reduces to: linear where parent and trained are nearly parallel (exact); the trained model at weight = 1 (close)
    """

    cite: ClassVar[Cite] = Cite(
        title="Animating rotation with quaternion curves",
        id="doi:10.1145/325334.325242",
        where="spherical linear interpolation; on weights as mergekit's slerp, version 0.1.5",
        checked="code",
    )

    weight: float = Field(0.5, ge=0, le=1, description="share of the arc from the parent to the trained model, 0..1")

    def merge(self, sources: Sources, folder: Path) -> Path:
        """Write the weights between the two into a folder.

        Raises:
            ValueError: the two do not hold the same tensors.
        """
        return write_merged(sources, [sources.trained], folder, self._between)

    def _between(self, name: str, parent: "torch.Tensor", models: "Sequence[torch.Tensor]") -> "torch.Tensor":
        import torch

        start, end = parent.float(), models[0].float()
        lengths = [torch.linalg.vector_norm(each) for each in (start, end)]
        units = [
            each / (length if length > SMALLEST_NORM else 1.0)
            for each, length in zip((start, end), lengths, strict=True)
        ]
        cosine = (units[0] * units[1]).sum().clamp(-1, 1)
        if abs(float(cosine)) > PARALLEL:
            return (1 - self.weight) * start + self.weight * end
        angle = torch.acos(cosine)
        shares = [torch.sin(share * angle) / torch.sin(angle) for share in (1 - self.weight, self.weight)]
        return shares[0] * start + shares[1] * end
