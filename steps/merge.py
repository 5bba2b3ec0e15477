"""Merge: the parent and what training made of it become the candidate."""

import shutil
from typing import Annotated

from pydantic import BeforeValidator, Field, SerializeAsAny

from steps.core.artifacts import Frozen, Model, Trained, Validation
from steps.core.front import FRONT
from steps.core.method import from_recipe
from steps.core.models import describe_model, publish, writing
from steps.core.validated import Validated
from steps.core.workspace import Workspace
from steps.methods.merge import Merge, Sources


class MergeConfig(Frozen):
    """The recipe's section `merge`."""

    rule: Annotated[SerializeAsAny[Merge], BeforeValidator(from_recipe("merge"))] = Field(
        description="how the two become one: {method: none} takes the trained model, {method: sweep} the best of some"
    )


def merge(workspace: Workspace, config: MergeConfig, parent: Model, trained: Trained, validation: Validation) -> Model:
    """Make the candidate out of the parent and the trained model.

    Raises:
        ValueError: the models do not fit together, or training kept too few of them.
        OSError: the disk is full.
    """
    sources = Sources(
        parent=workspace.at(parent.path),
        trained=workspace.at(trained.model.path),
        checkpoints=tuple(workspace.at(checkpoint.path) for checkpoint in trained.checkpoints),
        seed=workspace.seed,
        trained_on=trained.tasks,
        changes=Validated(workspace, workspace.at(parent.path), validation).changes,
    )
    partial = workspace.path / ".model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with writing(workspace.path / "model"):
            made = config.rule.merge(sources, partial)
            if made == sources.trained:
                return trained.model
            if (made / FRONT).exists():
                (made / FRONT).replace(workspace.path / FRONT)  # beside the model: inside it would be shipped
            publish(made, workspace.path / "model")
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return describe_model(workspace, workspace.path / "model")
