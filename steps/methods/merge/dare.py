"""Drop changes at random, and scale up those that stay."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from steps.core.method import Cite
from steps.methods.merge import Merge, Sources
from steps.methods.merge._shared import elected_mean, mean_of, run_of, seed_of, write_merged

if TYPE_CHECKING:
    import torch


class Dare(Merge):
    """DARE: drop the entries of each task vector with probability `drop`, and rescale the rest.

    Rule:       candidate = parent + weight * mean over the task vectors of mask * delta / (1 - drop), where an entry of
                a mask is 0 with probability `drop`; with `elect` the mean is that of TIES

    The mask is drawn from the seed, the tensor's name and the task vector's place, so it is the same on every machine.
    Its expectation is the task vector itself. Changes of fine-tuning can be dropped nearly all; those of continual
    pre-training are larger, and what is scaled up then hurts (the source's fig. on pre-training, recalled).

    Units:      weight without unit; drop as a probability
    Reduces to: task-arithmetic at drop = 0 with one task vector (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch",
        id="arXiv:2311.03099",
        where="drop and rescale; peft's dare_linear and dare_ties",
        checked="code",
    )

    drop: float = Field(0.5, ge=0, lt=1, description="probability that a change is dropped")
    weight: float = Field(1.0, ge=0, le=4, description="factor of the merged task vector")
    elect: bool = Field(False, description="elect signs between the task vectors, as TIES does")
    num_checkpoints: int = Field(0, ge=0, description="checkpoints of this run that join the trained model")

    def merge(self, sources: Sources, folder: Path) -> Path:
        """Write the parent with what is left of the task vectors into a folder.

        Raises:
            ValueError: the sources do not hold the same tensors, or training kept too few checkpoints.
        """

        def moved(name: str, parent: "torch.Tensor", models: "Sequence[torch.Tensor]") -> "torch.Tensor":
            start = parent.float()
            seeds = [seed_of(sources.seed, name, place) for place in range(len(models))]
            deltas = [self._thinned(model.float() - start, seed) for model, seed in zip(models, seeds, strict=True)]
            return start + self.weight * (elected_mean(deltas) if self.elect else mean_of(deltas))

        return write_merged(sources, run_of(sources, self.num_checkpoints), folder, moved)

    def _thinned(self, delta: "torch.Tensor", seed: int) -> "torch.Tensor":
        import torch

        if self.drop == 0:
            return delta
        stays = torch.full_like(delta, 1 - self.drop)
        return delta * torch.bernoulli(stays, generator=torch.Generator().manual_seed(seed)) / (1 - self.drop)
