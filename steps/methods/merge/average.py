"""Average the models that training passed on its last steps."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from steps.core.method import Cite
from steps.methods.merge import Merge, Sources
from steps.methods.merge._shared import mean_of, run_of, write_merged

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


class Average(Merge):
    """The mean of the trained model and of the last checkpoints of its run.

    Rule:       candidate = mean of the trained model and the last `num_checkpoints` checkpoints of this training run

    Training keeps their weights if `train.keep_checkpoints` says so. It pays where the learning rate is still high at
    the end; after an annealing the last model is near the mean already.

    Reduces to: the trained model at num_checkpoints = 0 (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="Stop Wasting My Time! Saving Days of ImageNet and BERT Training with Latest Weight Averaging",
        id="arXiv:2209.14981",
        where="the mean of the latest k checkpoints",
        checked="recalled",
    )

    num_checkpoints: int = Field(4, ge=0, description="checkpoints of this run that join the trained model")

    def merge(self, sources: Sources, folder: Path) -> Path:
        """Write the mean into a folder.

        Raises:
            ValueError: training kept too few checkpoints.
        """

        def mean(name: str, parent: "torch.Tensor", models: "Sequence[torch.Tensor]") -> "torch.Tensor":
            return mean_of([model.float() for model in models]) if len(models) > 1 else models[0]

        return write_merged(sources, run_of(sources, self.num_checkpoints), folder, mean)
