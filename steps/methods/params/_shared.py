"""Which weights of a network a method means."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Targets = Literal["all-linear"] | tuple[str, ...]


def linear_layers(network: "PreTrainedModel", targets: Targets, method: str) -> "dict[str, torch.nn.Linear]":
    """The linear layers meant, by name, without the output layer; a target is a layer's name or the end of it.

    Raises:
        ValueError: there are none, or a target fits none.
    """
    from torch.nn import Linear

    head = network.get_output_embeddings()
    layers = {name: it for name, it in network.named_modules() if isinstance(it, Linear) and it is not head}
    if not layers:
        raise ValueError(f"{method}: {type(network).__name__} has no torch.nn.Linear below its output layer; use full")
    if targets == "all-linear":
        return layers
    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name in layers):
            ends = sorted({name.rsplit(".", 1)[-1] for name in layers})
            raise ValueError(f"{method}: target_modules {target!r} fits no linear layer; there are: {ends}")
    return {name: it for name, it in layers.items() if any(f".{name}".endswith(f".{target}") for target in targets)}
