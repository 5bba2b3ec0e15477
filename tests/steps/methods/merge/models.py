"""What the tests of merging need: small models of one shape, and their tensors."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from steps.methods.merge import Merge, Sources
from tests.tiny_models import tiny_model


def sources(folder: Path, num_checkpoints: int = 0, seed: int = 0) -> Sources:
    """A parent, a trained model and checkpoints: tiny models, each with weights of its own."""
    made = [tiny_model(folder / f"model-{number}", number) for number in range(2 + num_checkpoints)]
    return Sources(parent=made[0], trained=made[1], checkpoints=tuple(made[2:]), seed=seed)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder."""
    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


def deltas(given: Sources, name: str) -> list[torch.Tensor]:
    """The task vectors of one tensor: of the checkpoints, oldest first, then of the trained model."""
    start = weights(given.parent)[name]
    return [weights(at)[name] - start for at in (*given.checkpoints, given.trained)]


def moved(rule: Merge, given: Sources, folder: Path) -> dict[str, torch.Tensor]:
    """What a rule adds to the parent."""
    start, made = weights(given.parent), weights(rule.merge(given, folder))
    return {name: tensor - start[name] for name, tensor in made.items()}


def row_model(folder: Path, values: list[float], name: str = "model.layers.0.mlp.weight") -> Path:
    """A folder with weights of one row; it is no whole model, and merging does not ask for one."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: torch.tensor(values)}, folder / "model.safetensors")
    return folder


def row_sources(folder: Path, *trained: list[float], seed: int = 0) -> Sources:
    """A parent of zeros and models whose weights are their task vectors: the last one trained, those before it kept."""
    rows = [row_model(folder / f"row-{number}", values) for number, values in enumerate(trained)]
    parent = row_model(folder / "parent", [0.0] * len(trained[0]))
    return Sources(parent=parent, trained=rows[-1], checkpoints=tuple(rows[:-1]), seed=seed)


def row_of(folder: Path) -> list[float]:
    """The one row of a folder's weights."""
    (row,) = weights(folder).values()
    return [round(float(value), 6) for value in row]
