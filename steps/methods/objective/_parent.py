"""The parent's own values of what is trained, for objectives that pull back to them."""

from typing import TYPE_CHECKING

from steps.methods.objective import Start

if TYPE_CHECKING:
    import torch


def parameters_of(start: Start, method: str) -> "tuple[torch.nn.Module, dict[str, torch.nn.Parameter]]":
    """The parent, and its parameters under the names of those that are trained.

    Raises:
        ValueError: something is trained that is no parameter of the parent.
    """
    parent = start.parent()
    own = dict(parent.named_parameters())
    strangers = [name for name, tensor in start.trained.items() if name not in own or own[name].shape != tensor.shape]
    if strangers:
        raise ValueError(
            f"train.objective: {method} pulls parameters back to the parent's, but train.params {start.params} trains "
            f"{len(strangers)} tensors that the parent does not have, {strangers[0]} first; train its own parameters "
            "(full, half, layers, magnitude), or use logit-distill or feature-distill"
        )
    return parent, {name: own[name] for name in start.trained}
