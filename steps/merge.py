"""Merge: the parent and what training made of it become the candidate."""

import shutil
from typing import Annotated

from pydantic import BeforeValidator, Field, SerializeAsAny

from steps.core.artifacts import Frozen, Model, Validation
from steps.core.method import from_recipe
from steps.core.models import describe_model, publish, writing
from steps.core.workspace import Workspace
from steps.methods.merge import Merge


class MergeConfig(Frozen):
    """The recipe's section `merge`."""

    rule: Annotated[SerializeAsAny[Merge], BeforeValidator(from_recipe("merge"))] = Field(
        description="how the two become one: {method: none} takes the trained model"
    )


def merge(workspace: Workspace, config: MergeConfig, parent: Model, trained: Model, validation: Validation) -> Model:
    """Make the candidate out of the parent and the trained model.

    Raises:
        ValueError: the two models do not fit together.
        OSError: the disk is full.
    """
    at_parent, at_trained = workspace.at(parent.path), workspace.at(trained.path)
    partial = workspace.path / ".model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with writing(workspace.path / "model"):
            made = config.rule.merge(at_parent, at_trained, partial)
            if made == at_trained:
                return trained
            publish(made, workspace.path / "model")
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return describe_model(workspace, workspace.path / "model")
