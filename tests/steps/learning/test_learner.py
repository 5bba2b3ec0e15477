from pathlib import Path

import pytest

from steps.core.training import accelerator_on
from steps.learning.learner import Learner
from tests.tiny_models import STATE, tiny_model, tiny_workspace
from tests.training import section


def learner(root: Path) -> Learner:
    config, parent = section(), tiny_model(root / "parent")
    methods = (config.params, config.objective, config.optimizer, config.learning_rate)
    workspace = tiny_workspace(root)
    return Learner(workspace, accelerator_on("cpu", "float32"), *methods, start=parent, parent=parent, state=STATE)


def test_an_objective_is_named_once() -> None:
    with pytest.raises(ValueError, match="wanted each method once, found next-token, next-token; leave one out"):
        section(objective=["next-token", "next-token"])


def test_a_learner_that_was_never_trained_releases_its_parent(tmp_path: Path) -> None:
    made, state = learner(tmp_path).finish(tiny_workspace(tmp_path), STATE)
    folder, parent = tmp_path / made.path, tmp_path / "parent"
    assert (folder / "model.safetensors").read_bytes()[-64:] == (parent / "model.safetensors").read_bytes()[-64:]
    assert state.path is None
