"""Models become one tensor by tensor: memory holds one tensor of each. A task vector is a model less its parent."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.core.models import INDEX, copy_side_files, read_header, tensors_of, weight_files
from steps.methods.merge import Sources

if TYPE_CHECKING:
    import torch

    Combine = Callable[[str, torch.Tensor, Sequence[torch.Tensor]], torch.Tensor]  # name, the parent's, the models'
    Update = Callable[[str, Sequence[torch.Tensor]], torch.Tensor]  # name, task vectors: what is added to the parent


def run_of(sources: Sources, num_checkpoints: int) -> list[Path]:
    """The last checkpoints of the training run, and the model that it ended with.

    Raises:
        ValueError: training kept fewer.
    """
    kept = len(sources.checkpoints)
    if num_checkpoints > kept:
        raise ValueError(
            f"merge: wanted {num_checkpoints} checkpoints of this training run, training kept {kept}; set "
            f"train.keep_checkpoints to at least {num_checkpoints}, and train that long, or lower num_checkpoints"
        )
    return [*sources.checkpoints[kept - num_checkpoints :], sources.trained]


def write_merged(sources: Sources, models: Sequence[Path], folder: Path, combine: "Combine") -> Path:
    """Write what a rule makes of every tensor, in the trained model's files and dtype.

    Tensors of whole numbers are the trained model's.

    Raises:
        ValueError: the sources do not hold the same tensors.
    """
    for other in (sources.parent, *models):
        _refuse_strangers(other, sources.trained)
    homes = [_homes(at) for at in (sources.parent, *models)]
    folder.mkdir(parents=True, exist_ok=True)
    for path in weight_files(sources.trained):
        _write(path, homes, folder / path.name, combine)
    copy_side_files(sources.trained, folder)
    if (sources.trained / INDEX).is_file():
        shutil.copyfile(sources.trained / INDEX, folder / INDEX)
    return folder


def write_moved(sources: Sources, models: Sequence[Path], folder: Path, update: "Update") -> Path:
    """Write the parent plus what a rule makes of the models' task vectors, in float32.

    Raises:
        ValueError: the sources do not hold the same tensors.
    """

    def moved(name: str, parent: "torch.Tensor", others: "Sequence[torch.Tensor]") -> "torch.Tensor":
        start = parent.float()
        return start + update(name, [other.float() - start for other in others])

    return write_merged(sources, models, folder, moved)


def largest(tensor: "torch.Tensor", count: int) -> "torch.Tensor":
    """Where the so many largest entries by magnitude are: 1.0 there, 0.0 elsewhere."""
    import torch

    kept = torch.zeros(tensor.numel())
    kept[tensor.abs().flatten().topk(count, sorted=False).indices] = 1.0
    return kept.view(tensor.shape)


def elected_mean(deltas: "Sequence[torch.Tensor]") -> "torch.Tensor":
    """At every entry the sign that weighs more is elected; the mean is that of the task vectors that have it."""
    import torch

    stacked = torch.stack(list(deltas))
    sign = torch.where(stacked.sum(dim=0) >= 0, 1.0, -1.0)
    agree = stacked.sign() == sign
    return (stacked * agree).sum(dim=0) / agree.sum(dim=0).clamp(min=1)


def mean_of(deltas: "Sequence[torch.Tensor]") -> "torch.Tensor":
    """The mean of some task vectors, entry by entry."""
    return sum(deltas[1:], deltas[0]) / len(deltas)


def seed_of(seed: int, *parts: str | int) -> int:
    """A seed of its own for every part, the same on every machine."""
    told = "\n".join(map(str, (seed, *parts))).encode()
    return int.from_bytes(hashlib.sha256(told).digest()[:7], "big")


def _homes(folder: Path) -> dict[str, Path]:
    return {name: path for name, _, path, _ in tensors_of(weight_files(folder))}


def _refuse_strangers(other: Path, trained: Path) -> None:
    shapes = [{name: fact["shape"] for name, fact, _, _ in tensors_of(weight_files(at))} for at in (other, trained)]
    strangers = sorted(name for name, shape in shapes[1].items() if shapes[0].get(name) != shape)
    if strangers:
        raise ValueError(
            f"merge: wanted the same tensors in {other} and {trained}, found {len(strangers)} that differ "
            f"({', '.join(strangers[:3])}); merge models of one architecture, or use {{method: none}}"
        )


def _write(path: Path, homes: Sequence[dict[str, Path]], target: Path, combine: "Combine") -> None:
    """One file of the trained model's layout: its header as it is, then tensor after tensor."""
    import torch
    from safetensors import safe_open

    header, start = read_header(path)
    ordered = sorted(header, key=lambda name: header[name]["data_offsets"][0])
    files = {home[name] for home in homes for name in ordered} | {path}
    with ExitStack() as stack, path.open("rb") as source, target.open("wb") as file:
        opened: dict[Path, Any] = {at: stack.enter_context(safe_open(at, framework="pt")) for at in files}
        file.write(source.read(start))
        for name in ordered:
            made = opened[path].get_tensor(name)
            if made.is_floating_point():
                parent, *models = (opened[home[name]].get_tensor(name) for home in homes)
                made = combine(name, parent, models).to(made.dtype)
            file.write(made.contiguous().flatten().view(torch.uint8).numpy().tobytes())
