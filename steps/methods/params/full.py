"""Train every parameter."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from steps.core.method import Cite
from steps.methods.params import Attached, Params

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Full(Params):
    """Train every parameter of the network.

    Rule:       every parameter requires a gradient
    Reduces to: the parent model when no step is taken (exact)
    Differs:    nothing to differ from; this is ordinary training
    """

    cite: ClassVar[Cite] = Cite(title="Full-parameter training", id="ours", where="this file", checked="code")

    sharded: ClassVar[bool] = True

    def attach(self, network: "PreTrainedModel", seed: int, past: "Mapping[str, torch.Tensor]") -> Attached:
        """The network itself, every parameter open."""
        return Attached.open(network.requires_grad_(True))

    def finish(self, attached: Attached, adapter: Path) -> "PreTrainedModel":
        """The network itself; there is no adapter."""
        network: PreTrainedModel = attached.network
        return network
