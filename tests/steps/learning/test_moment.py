"""A model on the way is set aside whole, and a run that goes on wants it back."""

import json
from pathlib import Path

import pytest
import torch

from steps.core.checkpoints import Checkpoints
from steps.learning.moment import Moment
from tests.steps.learning.test_learner import learner


def aside(root: Path) -> Moment:
    return Moment(Checkpoints(root / "checkpoints", "a run"), "model-4", 4)


def test_it_is_set_aside_at_its_step_alone_and_read_back_as_it_was(tmp_path: Path) -> None:
    one, moment = learner(tmp_path), aside(tmp_path)
    moment.keep(one, 3)
    assert not list((tmp_path / "checkpoints").glob("model-*"))
    moment.keep(one, 4)
    before = {name: tensor.detach().clone() for name, tensor in one.trained.items()}
    with torch.no_grad():
        for tensor in one.trained.values():
            tensor.zero_()
    trained, memory = moment.read()
    assert trained.keys() == before.keys()
    assert all(torch.equal(trained[name], before[name]) for name in before)
    assert memory.keys() == one.attached.memory.keys()


def test_other_weights_than_those_in_training_can_be_given(tmp_path: Path) -> None:
    one, moment = learner(tmp_path), aside(tmp_path)
    moment.keep(one, 4, {name: torch.zeros_like(tensor) for name, tensor in one.trained.items()})
    assert all(not tensor.any() for tensor in moment.read()[0].values())


def test_a_run_that_goes_on_after_it_wants_it_whole(tmp_path: Path) -> None:
    moment = aside(tmp_path)
    moment.check(3)  # not yet reached
    with pytest.raises(ValueError, match="the model-4 of step 4 is gone"):
        moment.check(4)
    moment.keep(learner(tmp_path), 4)
    moment.check(7)
    (tmp_path / "checkpoints/model-4.json").write_text(json.dumps({"step": 4, "sha256": "0" * 64}))
    with pytest.raises(ValueError, match="wanted SHA-256 000000000000, found"):
        moment.check(7)
