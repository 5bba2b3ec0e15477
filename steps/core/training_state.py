"""What goes from one refresh's training to the next beside the released model.

A folder: `<slot>-<method>.safetensors` holds what a method kept, `plateau/` the model before its learning rate was
annealed. A refresh keeps what its own recipe's methods keep; of others it says that it does not carry them on.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from steps.core.artifacts import TrainingState
from steps.core.method import Method
from steps.core.models import digest_of_model, writing
from steps.core.shards import digest_of, digest_of_files
from steps.core.workspace import Workspace

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)
PLATEAU = "plateau"
EMPTY = TrainingState(digest=digest_of([]))


def file_of(slot: str, method: Method) -> str:
    """The file in which a method keeps its tensors."""
    return f"{slot}-{method.method_name()}.safetensors"


def read_kept(workspace: Workspace, state: TrainingState, slot: str, method: Method) -> "dict[str, torch.Tensor]":
    """What a method kept at the last accepted refresh; empty the first time.

    Raises:
        ValueError: the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if state.path is None:
        return {}
    path = workspace.at(state.path) / file_of(slot, method)
    try:
        return load_file(path) if path.is_file() else {}
    except SafetensorError as error:
        raise ValueError(f"{path}: wanted a safetensors file: {error}; restore the version from a backup") from error


def plateau_of(workspace: Workspace, state: TrainingState) -> Path | None:
    """The model before its learning rate was annealed, if the last accepted refresh kept one."""
    if state.path is None:
        return None
    path = workspace.at(state.path) / PLATEAU
    return path if path.is_dir() else None


def digest_of_state(folder: Path) -> str:
    """SHA-256 over what methods kept and over the model of the plateau; who wrote that does not count."""
    files = digest_of_files({path.name: path for path in folder.iterdir() if path.is_file()})
    plateau = folder / PLATEAU
    return digest_of([files, digest_of_model(plateau) if plateau.is_dir() else ""])


def check_state(workspace: Workspace, state: TrainingState) -> None:
    """Check that a state is what the last accepted refresh left.

    Raises:
        ValueError: it is gone, or damaged.
    """
    if state.path is None:
        return
    folder = workspace.at(state.path)
    advice = "restore its version from a backup, or `perennial rollback` to one whose state is whole"
    try:
        found = digest_of_state(folder)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}: the training state cannot be read: {error}; {advice}") from error
    if found != state.digest:
        raise ValueError(
            f"{folder}: wanted a training state with digest {state.digest[:16]}, found {found[:16]}: it was damaged or "
            f"changed; {advice}"
        )


def write_kept(folder: Path, kept: "Mapping[str, Mapping[str, torch.Tensor]]") -> None:
    """Write what each method keeps, by its file; nothing for those that keep nothing."""
    from safetensors.torch import save_file

    for name, tensors in kept.items():
        if tensors:
            with writing(folder / name):
                folder.mkdir(parents=True, exist_ok=True)
                save_file({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, folder / name)


def describe_state(workspace: Workspace, folder: Path, before: TrainingState) -> TrainingState:
    """The artifact of a state's folder; says what of the last refresh's is not carried on."""
    if before.path is not None:
        lost = {path.name for path in workspace.at(before.path).iterdir()} - {path.name for path in folder.glob("*")}
        if lost:
            logger.warning(
                "training state not carried on, since no method of this recipe uses it: %s", ", ".join(sorted(lost))
            )
    if not folder.is_dir():
        return EMPTY
    return TrainingState(digest=digest_of_state(folder), path=workspace.relative(folder))
