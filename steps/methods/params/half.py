"""Train half of every layer, drawn anew at each refresh."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from steps.core.method import Cite
from steps.methods.params import Attached, Params

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)
KINDS = ("attention", "feed-forward", "norm")
NUM_REFRESHES = "num_refreshes"


class Half(Params):
    """HFT: freeze about half of each layer's modules, others at every refresh; the rest trains as usual.

    Rule:       of each layer's n attention matrices n // 2 are frozen, and n // 2 of its n norms; of its n
                feed-forward matrices ceil(n / 2) in a random half of the layers, floor(n / 2) in the others;
                embeddings, last norm and output layer are trained. For a Llama: 2 of 4, 1 of 2, 2 or 1 of 3
    Reduces to: the parent when no step is taken (exact); what is frozen keeps the parent's bits
    Differs:    matrices are sorted by where they stand and by their shape, not by a list of names, so that fused
                projections count as one; the draw hangs on the number of accepted refreshes as well as on the seed,
                which a model line keeps for ever: a refresh that is rejected and tried again draws the same half

    A frozen matrix needs no gradient and no moments: three of its four floats of memory, a third of its arithmetic.
    """

    cite: ClassVar[Cite] = Cite(
        title="HFT: Half Fine-Tuning for Large Language Models",
        id="arXiv:2404.18466",
        where="gucci-j/ssu model_utils.py, _freeze_hft_parameters, freeze_ratio 0.5; no code of the authors",
        checked="secondary",
    )
    cost: ClassVar[str] = "less: frozen parameters have no gradient and no moments"
    sharded: ClassVar[bool] = True

    def attach(self, network: "PreTrainedModel", seed: int, past: "Mapping[str, torch.Tensor]") -> Attached:
        """The network with the drawn half frozen.

        Raises:
            ValueError: its layers are not made of attention and feed-forward matrices.
        """
        import torch

        number = int(past[NUM_REFRESHES]) if past else 0
        network.requires_grad_(True)
        frozen = drawn(network, np.random.default_rng([seed, number]))
        for name in frozen:
            network.get_submodule(name).requires_grad_(False)
        attached = Attached.open(network)
        attached.fixed[NUM_REFRESHES] = torch.tensor(number)
        still = sum(parameter.numel() for parameter in network.parameters() if not parameter.requires_grad)
        share = 100 * still / sum(parameter.numel() for parameter in network.parameters())
        logger.info("after %d refreshes, %.1f %% of the parameters frozen: %s", number, share, ", ".join(frozen))
        return attached

    def keep(self, attached: Attached) -> "dict[str, torch.Tensor]":
        """How many refreshes there were, with this one."""
        return {NUM_REFRESHES: attached.fixed[NUM_REFRESHES] + 1}

    def finish(self, attached: Attached, adapter: Path) -> "PreTrainedModel":
        """The network itself; there is no adapter."""
        network: PreTrainedModel = attached.network
        return network


def drawn(network: "PreTrainedModel", chance: np.random.Generator) -> list[str]:
    """The modules to freeze, by name, in the order of the network."""
    layers = layers_of(network)
    more = set(chance.permutation(len(layers))[: len(layers) // 2].tolist())
    frozen = []
    for number, (name, layer) in enumerate(layers.items()):
        for kind, members in modules_of(name, layer).items():
            extra = len(members) % 2 if kind == "feed-forward" and number in more else 0
            picked = chance.choice(len(members), len(members) // 2 + extra, replace=False)
            frozen += [members[place] for place in sorted(picked.tolist())]
    return frozen


def layers_of(network: "PreTrainedModel") -> dict[str, Any]:
    """The decoder layers, by name.

    Raises:
        ValueError: there is no list of as many layers as the configuration says.
    """
    from torch.nn import ModuleList

    wanted = getattr(network.config, "num_hidden_layers", None)
    for name, module in network.named_modules():
        if isinstance(module, ModuleList) and len(module) == wanted:
            return {f"{name}.{number}": layer for number, layer in enumerate(module)}
    raise ValueError(f"half: {type(network).__name__} has no list of {wanted} layers; use full or layers")


def modules_of(name: str, layer: Any) -> dict[str, list[str]]:
    """A layer's modules that hold parameters, by kind.

    Raises:
        ValueError: it has matrices in stacks, or lacks attention or feed-forward matrices.
    """
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for path, module in layer.named_modules():
        num_axes = max((parameter.ndim for parameter in module.parameters(recurse=False)), default=0)
        if num_axes > 2:
            raise ValueError(
                f"half: {name}.{path} holds weights with {num_axes} axes, wanted matrices and vectors: it is sorted "
                "neither as attention nor as feed-forward; use full or layers"
            )
        if num_axes:
            kind = "norm" if num_axes == 1 else "attention" if "att" in path.lower() else "feed-forward"
            found[kind].append(f"{name}.{path}")
    counts = {kind: len(members) for kind, members in found.items()}
    if min(counts["attention"], counts["feed-forward"]) < 2:
        raise ValueError(f"half: {name} has {counts}, wanted two or more matrices of each kind; use full or layers")
    return found
