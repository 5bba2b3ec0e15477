"""What training leaves: the released model, and what the next refresh's training needs."""

import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from steps.core.artifacts import Model, TrainingState
from steps.core.models import describe_model, save_model
from steps.core.training_state import PLATEAU, describe_state, file_of, write_kept
from steps.core.workspace import Workspace
from steps.learning.learner import Learner
from steps.methods.params import Attached

if TYPE_CHECKING:
    import torch

    Tensors = tuple[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]]  # of what is trained, of its memory

logger = logging.getLogger(__name__)


def release(learner: Learner) -> None:
    """Put what is released in place of what was trained; twice is as good as once."""
    import torch

    released = learner.averaging.released(learner.trained, learner.average)
    with torch.no_grad():
        for name, tensor in learner.trained.items():
            if released[name] is not tensor:
                tensor.copy_(released[name])


def finish(
    learner: Learner, workspace: Workspace, before: TrainingState, plateau: "Tensors | None" = None
) -> tuple[Model, TrainingState]:
    """The released model and what the next refresh's training needs, on disk; the network is used up.

    `plateau`: what was trained and remembered when the model was that which is kept beside the released one.
    """
    model, adapter, state = (workspace.path / name for name in ("model", "adapter", "state"))
    params = learner.params
    release(learner)
    attached = _put_together(learner)
    memories = {name: learner.ranks.whole(memory) for name, memory in learner.memory.items()}
    if learner.ranks.first:
        shutil.rmtree(adapter, ignore_errors=True)
        shutil.rmtree(state, ignore_errors=True)
        kept = {file_of("params", params): params.keep(attached)}
        for one in learner.objectives:
            kept[file_of("objective", one)] = one.keep(memories[one.method_name()])
        write_kept(state, kept)
        save_model(params.finish(attached, adapter), model, learner.parent)
        if plateau:
            learner.optimizer.state.clear()  # its room is needed
            with tempfile.TemporaryDirectory(dir=workspace.path) as aside:
                again = params.finish(made_anew(learner, *plateau), Path(aside) / "adapter")
                save_model(again, state / PLATEAU, learner.parent)
        if adapter.exists() and learner.start != learner.parent:
            shutil.rmtree(adapter)
            logger.info("no adapter is kept: it would belong on the plateau that training began at, not on the parent")
    learner.ranks.wait()
    made = describe_model(workspace, model, adapter if adapter.exists() else None)
    return made, describe_state(workspace, state, before)


def _put_together(learner: Learner) -> Attached:
    """What was attached, whole in the first process: made again, with all that training moved."""
    if learner.ranks.number == 1:
        return learner.attached
    trained, memory = learner.ranks.whole(learner.trained), learner.ranks.whole(learner.attached.memory)
    if not learner.ranks.first:
        return learner.attached
    return made_anew(learner, trained, memory)


def made_anew(
    learner: Learner, trained: "Mapping[str, torch.Tensor]", memory: "Mapping[str, torch.Tensor]"
) -> Attached:
    """What was attached before the first step, made again, with what training moved put in."""
    import torch

    again = learner.attach()
    with torch.no_grad():
        for name, tensor in trained.items():
            again.trained[name].copy_(tensor)
        for key, tensor in memory.items():  # in place where there is one: the network may compute with it
            again.memory[key] = again.memory[key].copy_(tensor) if key in again.memory else tensor
    return again
