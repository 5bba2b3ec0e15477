"""Keep the shallow layers near the parent, let the deep ones change."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from steps.core.method import Cite
from steps.core.models import tensors_of, weight_files
from steps.methods.merge import Merge, Sources
from steps.methods.merge._shared import write_moved

if TYPE_CHECKING:
    import torch

BLOCK = re.compile(r"\.(\d+)\.")  # model.layers.3.self_attn…, transformer.h.3.attn…


class LayerScaling(Merge):
    """LiNeS: the task vector is scaled by depth, from `weight` in the first block to `deepest` in the last.

    Rule:       candidate = parent + s(l) * (trained - parent), s(l) = weight + (deepest - weight) * l / (L - 1) in
                block l of L; s = weight outside of the blocks (embeddings, last norm, head)
    Units:      weight and deepest without unit; blocks counted from 0
    Reduces to: task-arithmetic at deepest = weight (exact), and for a model of one block
    Differs:    the source is on vision models; it writes weight as alpha and deepest - weight as beta
    """

    cite: ClassVar[Cite] = Cite(
        title="LiNeS: Post-training Layer Scaling Prevents Forgetting and Enhances Model Merging",
        id="wang-kee/LiNeS",
        where="src/eval/eval.py, LiNeS_scaling; a single task: beta = 1 - alpha",
        checked="code",
    )

    weight: float = Field(0.5, ge=0, le=4, description="factor of the changes in the first block, and outside of them")
    deepest: float = Field(1.0, ge=0, le=4, description="factor of the changes in the last block")

    def merge(self, sources: Sources, folder: Path) -> Path:
        """Write the parent with the task vector scaled by depth into a folder.

        Raises:
            ValueError: the two do not hold the same tensors, or no tensor's name tells its block.
        """
        blocks = [block_of(name) for name, _, _, _ in tensors_of(weight_files(sources.trained))]
        if not any(block is not None for block in blocks):
            raise ValueError(
                f"layer-scaling: wanted tensors named by their block, as model.layers.3.…, found none in "
                f"{sources.trained}; use task-arithmetic"
            )
        last = max(block for block in blocks if block is not None)

        def update(name: str, deltas: "Sequence[torch.Tensor]") -> "torch.Tensor":
            return self.factor(block_of(name), last) * deltas[0]

        return write_moved(sources, [sources.trained], folder, update)

    def factor(self, block: int | None, last: int) -> float:
        """The scale of a block's changes; none: of a tensor outside of the blocks."""
        if block is None or last == 0:
            return self.weight
        return self.weight + (self.deepest - self.weight) * block / last


def block_of(name: str) -> int | None:
    """The block that a tensor belongs to, by its name."""
    found = BLOCK.search(name)
    return int(found[1]) if found else None
