"""A sparse change of weights on disk: the entries that are others, by their places in a weight's flat order.

`delta.safetensors` holds `<weight>/index` (int32, int64 for a weight of 2^31 entries or more) and `<weight>/value`;
`delta.json` says the shapes. Put into the weights that training began with, they make those that it ended with: to the
bit in float32, and in any other dtype after one rounding, which is how a model of that dtype is released.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from steps.core.models import writing
from steps.core.shards import write_json

if TYPE_CHECKING:
    import torch

TENSORS, FACTS = "delta.safetensors", "delta.json"


def write_delta(folder: Path, changed: "Mapping[str, tuple[torch.Tensor, torch.Tensor]]") -> None:
    """Write some entries of weights. `changed`: each weight as it is now, and which of its flat entries to write.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    from safetensors.torch import save_file

    tensors = {}
    for name, (weight, which) in changed.items():
        index = which.nonzero().flatten()
        tensors[f"{name}/value"] = weight.detach().flatten()[index].cpu()
        tensors[f"{name}/index"] = (index.int() if weight.numel() < 2**31 else index).cpu()
    shapes = {name: list(weight.shape) for name, (weight, _) in changed.items()}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / TENSORS)
        (folder / TENSORS).chmod(0o644)
        write_json(folder / FACTS, {"rule": "weight.flatten()[index] = value", "shapes": shapes})


def apply_delta(folder: Path, weights: "Mapping[str, torch.Tensor]") -> None:
    """Put the entries of a folder into weights, by their names, in place.

    Raises:
        ValueError: a weight is missing, or has another shape.
    """
    from safetensors.torch import load_file

    tensors = load_file(folder / TENSORS)
    for name, shape in json.loads((folder / FACTS).read_text(encoding="utf-8"))["shapes"].items():
        found = list(weights[name].shape) if name in weights else "none"
        if found != shape:
            raise ValueError(f"{folder}: {name} wants shape {shape}, found {found}; give the parent's weights")
        weights[name].view(-1)[tensors[f"{name}/index"].long()] = tensors[f"{name}/value"].to(weights[name])
