"""The plateau: the model after the last step before its learning rate is annealed, set aside until the run has ended.

It lies with the checkpoints, whole or not there, survives a stop as they do, and goes with them.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from steps.core.artifacts import TrainingState
from steps.core.checkpoints import Checkpoints
from steps.core.models import writing
from steps.core.shards import digest_of_file, write_json
from steps.core.training_state import check_state, plateau_of
from steps.core.workspace import Workspace
from steps.learning.learner import Learner
from steps.methods.schedule import Schedule

if TYPE_CHECKING:
    import torch

TRAINED, MEMORY = "parameter/", "params/"
ADVICE = "remove the folder of the checkpoints and run again, from the first step"


class Plateau:
    """What the last refresh left of it, and what this one sets aside; nothing if the schedule has none.

    Raises:
        ValueError: the training state of the last refresh is damaged.
    """

    def __init__(
        self,
        workspace: Workspace,
        schedule: Schedule,
        num_steps: int,
        state: TrainingState,
        checkpoints: Checkpoints,
    ) -> None:
        check_state(workspace, state)
        self.step = schedule.plateau(num_steps)
        self._before = plateau_of(workspace, state) if self.step else None
        self._starts = schedule.from_plateau()
        self._writes = checkpoints.writes
        self._tensors = checkpoints.folder / "plateau.safetensors"
        self._facts = checkpoints.folder / "plateau.json"

    @property
    def continued(self) -> bool:
        """Whether the last accepted refresh kept a plateau, and the schedule goes on from it."""
        return self._before is not None

    def start(self, parent: Path) -> Path:
        """The model that training begins with."""
        return self._before if self._before and self._starts else parent

    def keep(self, learner: Learner, step: int) -> None:
        """Set aside what is trained and what its method remembers, if this is the step.

        Raises:
            OSError: the disk is full.
        """
        if step != self.step:
            return
        tensors = {f"{TRAINED}{name}": tensor for name, tensor in learner.trained.items()}
        tensors |= {f"{MEMORY}{name}": tensor for name, tensor in learner.attached.memory.items()}
        whole = learner.ranks.whole(tensors)
        if self._writes:
            self._write(whole, step)
        learner.ranks.wait()  # the others read it

    def _write(self, tensors: "Mapping[str, torch.Tensor]", step: int) -> None:
        from safetensors.torch import save_file

        partial = self._tensors.with_name(f".{self._tensors.name}")
        with writing(self._tensors):
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial)
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            digest = digest_of_file(partial)
            partial.replace(self._tensors)
            write_json(self._facts, {"step": step, "sha256": digest})

    def check(self, done: int) -> None:
        """Check that a run that goes on after a step still has what it set aside before.

        Raises:
            ValueError: it is gone, or damaged.
        """
        if self.step is None or done < self.step:
            return
        try:
            wanted = str(json.loads(self._facts.read_text(encoding="utf-8"))["sha256"])
            found = digest_of_file(self._tensors)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{self._tensors}: the plateau of step {self.step} is gone: {error}; {ADVICE}") from error
        if found != wanted:
            raise ValueError(f"{self._tensors}: wanted SHA-256 {wanted[:12]}, found {found[:12]}; {ADVICE}")

    def read(self) -> "tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]] | None":
        """What was trained and what its method remembered, after the step; none: the schedule names no step.

        Raises:
            ValueError: it is gone, or damaged.
        """
        if self.step is None:
            return None
        from safetensors.torch import load_file

        self.check(self.step)
        tensors = load_file(self._tensors)
        trained = {name.removeprefix(TRAINED): each for name, each in tensors.items() if name.startswith(TRAINED)}
        memory = {name.removeprefix(MEMORY): each for name, each in tensors.items() if name.startswith(MEMORY)}
        return trained, memory
