from pathlib import Path

import pytest
import torch

from steps.learning.saved import restore, tensors_of
from tests.steps.learning.test_learner import learner
from tests.training import ends_like_one_never_stopped, section


def test_a_run_that_was_stopped_ends_like_one_that_was_not(tmp_path: Path) -> None:
    ends_like_one_never_stopped(tmp_path, section())


def test_the_moments_and_the_random_state_come_back(tmp_path: Path) -> None:
    one, other = learner(tmp_path / "1"), learner(tmp_path / "2")
    for parameter in one.trained.values():
        parameter.grad = torch.randn_like(parameter)
    one.step(1, 0.1)
    saved = {name: tensor.detach().clone() for name, tensor in tensors_of(one).items()}
    expected = torch.rand(3)
    restore(other, saved)
    assert torch.equal(torch.rand(3), expected)
    again = tensors_of(other)
    assert saved.keys() == again.keys()
    assert all(torch.equal(saved[name], again[name]) for name in saved if not name.startswith("random/"))


def test_numbers_beside_the_tensors_come_back_as_what_they_were(tmp_path: Path) -> None:
    one, other = learner(tmp_path / "1"), learner(tmp_path / "2")
    told = {"step": 3, "pace": 1 / 3, "ready": True}
    parameter = next(iter(one.trained.values()))
    one.optimizer.state[parameter].update(told)
    restore(other, tensors_of(one))
    found = other.optimizer.state[next(iter(other.trained.values()))]
    assert found == told
    assert [type(value) for value in found.values()] == [int, float, bool]


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"checkpoint: model.embed_tokens.weight wants shape \[.*\], found none"):
        restore(learner(tmp_path), {"random/cpu": torch.get_rng_state()})
