"""Train those rows of every matrix whose outputs are large on the text of the step."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from steps.core.blocks import MicroBatch
from steps.core.method import Cite
from steps.methods.params import Attached, Params
from steps.methods.params._shared import Targets, linear_layers

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

NUM_REFRESHES = "num_refreshes"
REAL = "real_BT"  # there while a micro-batch passes: its tokens that are no padding
SUM, MASKED, BEFORE = "magnitude/", "masked/", "before/"


class Magnitude(Params):
    """MIGU: of each linear layer update only the rows whose outputs are largest on the text of this step.

    Rule:       n_j = sum of |h_j| over the tokens of a step's micro-batches, h the layer's output; rows with
                n_j < quantile(n, quantile) keep their weights (and biases) bit for bit; all else is trained
    Shapes:     h [B, T, out], n [out], one row of the weight [out, in] for each n_j
    Units:      n in units of the layer's output; only compared within a layer
    Reduces to: full training at quantile = 0 (exact); the parent when no step is taken (exact)
    Differs:    masks the update; the source zeroes the gradient, and AdamW's momentum and decay move the row all the
                same (`mask: gradient` does as it does); padding does not count; biases are masked with their rows;
                the source masks from its second task on (`from_refresh: 2`), and the factors of adapters too. It
                resets after each step at 6c05b06, and never in other versions (`reset: never`)

    A pass counts once: what is computed again for a gradient, validation and teachers do not count.
    """

    cite: ClassVar[Cite] = Cite(
        title="Unlocking Continual Learning Abilities in Language Models",
        id="arXiv:2406.17245",
        where="wenyudu/MIGU uie_trainer_ft.py, accelerate_local.py",
        checked="code",
    )
    cost: ClassVar[str] = "one product [N]·[N, out] per layer and pass; a copy of the kept rows at each step"

    quantile: float = Field(0.7, ge=0, lt=1, description="share of the rows that is kept as it is; 0.5 in the code")
    mask: Literal["update", "gradient"] = Field("update", description="what of the other rows is taken away")
    reset: Literal["each-step", "never"] = Field("each-step", description="when magnitudes are added up anew")
    from_refresh: int = Field(1, gt=0, description="first refresh of a model line that masks, counted from 1")
    target_modules: Targets = Field(
        "all-linear", description="names of the layers to mask; all-linear: all of them but the output layer"
    )

    def attach(self, network: "PreTrainedModel", seed: int, past: "Mapping[str, torch.Tensor]") -> Attached:
        """The network itself, every parameter open; its layers say how large their outputs are.

        Raises:
            ValueError: a target names no linear layer of this network.
        """
        import torch

        number = int(past[NUM_REFRESHES]) if past else 0
        attached = Attached.open(network.requires_grad_(True))
        attached.fixed[NUM_REFRESHES] = torch.tensor(number)
        layers = linear_layers(network, self.target_modules, "magnitude")
        if number + 1 >= self.from_refresh:
            for name, layer in layers.items():
                attached.memory[SUM + name] = torch.zeros(layer.out_features, device=layer.weight.device)
                layer.register_forward_hook(partial(_add, attached, name))
            network.register_forward_hook(partial(_close, attached))
        return attached

    def look(self, attached: Attached, batch: MicroBatch) -> None:
        """Count the pass that comes now, and this one only."""
        import torch

        padding = torch.zeros_like(batch.input_ids, dtype=torch.bool) if batch.padding is None else batch.padding
        attached.fixed[REAL] = ~padding

    def gradients(self, attached: Attached, step: int) -> None:
        """Zero the gradient of the masked rows, and keep what they are."""
        import torch

        for place, sum_O in attached.memory.items():
            masked = (sum_O < torch.quantile(sum_O, self.quantile)).nonzero().flatten()
            for name, parameter in _of_layer(attached, place.removeprefix(SUM)):
                if parameter.grad is not None:
                    parameter.grad[masked] = 0.0
                if self.mask == "update":
                    attached.fixed[MASKED + name] = masked
                    attached.fixed[BEFORE + name] = parameter.detach()[masked]
            if self.reset == "each-step":
                sum_O.zero_()

    def moved(self, attached: Attached, step: int) -> None:
        """Put the masked rows back."""
        for place in [place for place in attached.fixed if place.startswith(BEFORE)]:
            name = place.removeprefix(BEFORE)
            attached.trained[name].data[attached.fixed.pop(MASKED + name)] = attached.fixed.pop(place)

    def keep(self, attached: Attached) -> "dict[str, torch.Tensor]":
        """How many refreshes there were, with this one."""
        return {NUM_REFRESHES: attached.fixed[NUM_REFRESHES] + 1}

    def finish(self, attached: Attached, adapter: Path) -> "PreTrainedModel":
        """The network itself; there is no adapter."""
        network: PreTrainedModel = attached.network
        return network


def _close(attached: Attached, *_: Any) -> None:
    """The pass is over."""
    attached.fixed.pop(REAL, None)


def _add(attached: Attached, name: str, layer: Any, given: Any, output_BTO: "torch.Tensor") -> None:
    """Add a layer's outputs to its sum.

    Raises:
        ValueError: they are no longer in the order of the tokens, so padding cannot be told.
    """
    if (real_BT := attached.fixed.get(REAL)) is None:
        return
    if output_BTO.shape[:-1] != real_BT.shape:
        raise ValueError(
            f"magnitude: {name} wanted outputs of {list(real_BT.shape)} tokens, found {list(output_BTO.shape[:-1])}; "
            "leave it out of target_modules"
        )
    magnitude_NO = output_BTO.detach().float().abs().flatten(0, 1)
    sum_O = real_BT.flatten().to(magnitude_NO) @ magnitude_NO
    attached.memory[SUM + name] += sum_O.nan_to_num(0.0, 0.0)  # the step may be skipped, its numbers must not stay


def _of_layer(attached: Attached, layer: str) -> "list[tuple[str, torch.Tensor]]":
    """A layer's weight and bias, by name."""
    names = (f"{layer}.weight", f"{layer}.bias")
    return [(name, attached.trained[name]) for name in names if name in attached.trained]
