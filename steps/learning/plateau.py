"""The plateau: the model after the last step before its rate is annealed, which the next refresh goes on from."""

from pathlib import Path
from typing import TYPE_CHECKING

from steps.core.artifacts import TrainingState
from steps.core.checkpoints import Checkpoints
from steps.core.training_state import check_state, plateau_of
from steps.core.workspace import Workspace
from steps.learning.learner import Learner
from steps.learning.moment import Moment
from steps.methods.schedule import Schedule

if TYPE_CHECKING:
    import torch


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
        step = schedule.plateau(num_steps)
        self._before = plateau_of(workspace, state) if step else None
        self._starts = schedule.from_plateau()
        self._moment = None if step is None else Moment(checkpoints, "plateau", step)

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
        if self._moment:
            self._moment.keep(learner, step)

    def check(self, done: int) -> None:
        """Check that a run that goes on after a step still has what it set aside before.

        Raises:
            ValueError: it is gone, or damaged.
        """
        if self._moment:
            self._moment.check(done)

    def read(self) -> "tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]] | None":
        """What was trained and what its method remembered, after the step; none: the schedule names no step.

        Raises:
            ValueError: it is gone, or damaged.
        """
        return self._moment.read() if self._moment else None
