"""What a run sets aside on its way: the plateau, and the models at its last checkpoints, kept whole for merging."""

import logging
import shutil
import tempfile
from pathlib import Path

from pydantic import Field

from steps.core.artifacts import Frozen, Model, TrainingState
from steps.core.checkpoints import Checkpoints
from steps.core.models import describe_model, save_model
from steps.core.workspace import Workspace
from steps.learning.learner import Learner
from steps.learning.moment import Moment
from steps.learning.plateau import Plateau
from steps.learning.released import finish, made_anew

logger = logging.getLogger(__name__)


class Keeping(Frozen):
    """Knobs of the recipe's section `train` on what is kept of the way."""

    checkpoint_steps: int = Field(10, gt=0, description="steps from one checkpoint to the next")
    keep_checkpoints: int = Field(
        0, ge=0, description="last checkpoints of which the model is kept, for merge; each takes the room of a model"
    )

    def kept_steps(self, num_steps: int) -> list[int]:
        """The steps after which a run's model is kept; the last step's is the trained model itself."""
        steps = list(range(self.checkpoint_steps, num_steps, self.checkpoint_steps))
        return steps[len(steps) - min(len(steps), self.keep_checkpoints) :]


class Passed:
    """The plateau, if there is one, and the last models that a run passes: what training would have released there."""

    def __init__(self, keeping: Keeping, num_steps: int, checkpoints: Checkpoints, plateau: Plateau) -> None:
        self._plateau = plateau
        self._moments = [Moment(checkpoints, f"model-{step}", step) for step in keeping.kept_steps(num_steps)]
        if len(self._moments) < keeping.keep_checkpoints:
            logger.warning(
                "train.keep_checkpoints: wanted %d, a run of %d steps passes %d; lower train.checkpoint_steps (%d)",
                keeping.keep_checkpoints,
                num_steps,
                len(self._moments),
                keeping.checkpoint_steps,
            )

    def keep(self, learner: Learner, step: int) -> None:
        """Set the model aside, if this is one of the steps.

        Raises:
            OSError: the disk is full.
        """
        self._plateau.keep(learner, step)
        for moment in self._moments:
            if moment.step == step:
                moment.keep(learner, step, learner.averaging.released(learner.trained, learner.average))

    def check(self, done: int) -> None:
        """Check that a run that goes on after a step still has what it set aside before.

        Raises:
            ValueError: one is gone, or damaged.
        """
        self._plateau.check(done)
        for moment in self._moments:
            moment.check(done)

    def finish(
        self, learner: Learner, workspace: Workspace, before: TrainingState
    ) -> tuple[Model, TrainingState, tuple[Model, ...]]:
        """The released model, what the next refresh's training needs, and the models that were kept, oldest first.

        Raises:
            OSError: the disk is full.
        """
        made, state = finish(learner, workspace, before, self._plateau.read())
        return made, state, self._models(learner, workspace)

    def _models(self, learner: Learner, workspace: Workspace) -> tuple[Model, ...]:
        folder = workspace.path / "passed"
        if learner.ranks.first:
            shutil.rmtree(folder, ignore_errors=True)
            for moment in self._moments:
                folder.mkdir(exist_ok=True)
                with tempfile.TemporaryDirectory(dir=workspace.path) as aside:
                    network = learner.params.finish(made_anew(learner, *moment.read()), Path(aside) / "adapter")
                    save_model(network, folder / f"step-{moment.step}", learner.parent)
        learner.ranks.wait()
        return tuple(describe_model(workspace, folder / f"step-{moment.step}") for moment in self._moments)
