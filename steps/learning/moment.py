"""A model on the way: what training moved and remembered after one step, set aside until the run has ended.

It lies with the checkpoints, whole or not there, survives a stop as they do, and goes with them.
"""

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from steps.core.checkpoints import Checkpoints
from steps.core.models import writing
from steps.core.shards import digest_of_file, write_json
from steps.learning.learner import Learner

if TYPE_CHECKING:
    import torch

TRAINED, MEMORY = "parameter/", "params/"
ADVICE = "remove the folder of the checkpoints and run again, from the first step"


class Moment:
    """One step of a run, by a name of its own."""

    def __init__(self, checkpoints: Checkpoints, name: str, step: int) -> None:
        self.name, self.step = name, step
        self._writes = checkpoints.writes
        self._tensors = checkpoints.folder / f"{name}.safetensors"
        self._facts = checkpoints.folder / f"{name}.json"

    def keep(self, learner: Learner, step: int, trained: "Mapping[str, torch.Tensor] | None" = None) -> None:
        """Set aside what is trained, or is given for it, and what its method remembers, if this is the step.

        Raises:
            OSError: the disk is full.
        """
        if step != self.step:
            return
        moved = learner.trained if trained is None else trained
        tensors = {f"{TRAINED}{name}": tensor for name, tensor in moved.items()}
        tensors |= {f"{MEMORY}{name}": tensor for name, tensor in learner.attached.memory.items()}
        whole = learner.ranks.whole(tensors)
        if self._writes:
            self._write(whole)
        learner.ranks.wait()  # the others read it

    def _write(self, tensors: "Mapping[str, torch.Tensor]") -> None:
        from safetensors.torch import save_file

        partial = self._tensors.with_name(f".{self._tensors.name}")
        with writing(self._tensors):
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial)
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            digest = digest_of_file(partial)
            partial.replace(self._tensors)
            write_json(self._facts, {"step": self.step, "sha256": digest})

    def check(self, done: int) -> None:
        """Check that a run that goes on after a step still has what it set aside before.

        Raises:
            ValueError: it is gone, or damaged.
        """
        if done < self.step:
            return
        try:
            wanted = str(json.loads(self._facts.read_text(encoding="utf-8"))["sha256"])
            found = digest_of_file(self._tensors)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"{self._tensors}: the {self.name} of step {self.step} is gone: {error}; {ADVICE}"
            ) from error
        if found != wanted:
            raise ValueError(f"{self._tensors}: wanted SHA-256 {wanted[:12]}, found {found[:12]}; {ADVICE}")

    def read(self) -> "tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]":
        """What was trained and what its method remembered, after the step.

        Raises:
            ValueError: it is gone, or damaged.
        """
        from safetensors.torch import load_file

        self.check(self.step)
        tensors = load_file(self._tensors)
        trained = {name.removeprefix(TRAINED): each for name, each in tensors.items() if name.startswith(TRAINED)}
        memory = {name.removeprefix(MEMORY): each for name, each in tensors.items() if name.startswith(MEMORY)}
        return trained, memory
