from pathlib import Path

import pytest
import torch

from steps.learning.released import finish, release
from tests.steps.learning.test_learner import learner
from tests.tiny_models import STATE, tiny_workspace


def test_a_learner_that_was_never_trained_releases_its_parent(tmp_path: Path) -> None:
    made, state = finish(learner(tmp_path), tiny_workspace(tmp_path), STATE)
    folder, parent = tmp_path / made.path, tmp_path / "parent"
    assert (folder / "model.safetensors").read_bytes()[-64:] == (parent / "model.safetensors").read_bytes()[-64:]
    assert state.path is None


def test_what_is_released_takes_the_place_of_what_was_trained_once_or_twice(tmp_path: Path) -> None:
    one = learner(tmp_path, optimizer={"method": "meta-replay", "interpolation": 0.5})
    before = {name: tensor.detach().clone() for name, tensor in one.trained.items()}
    for tensor in one.trained.values():
        tensor.grad = torch.ones_like(tensor)
    one.step(1, 0.1)
    halfway = {name: (before[name] + tensor.detach()) / 2 for name, tensor in one.trained.items()}
    for _ in range(2):
        release(one)
        assert all(torch.allclose(one.trained[name], halfway[name], atol=1e-6) for name in halfway)


@pytest.mark.parametrize("start", ["parent", "plateau"])
def test_an_adapter_is_kept_where_it_loads_on_the_parent(tmp_path: Path, start: str) -> None:
    one = learner(tmp_path, params={"method": "lora", "rank": 2})
    one.start = tmp_path / start
    made, _ = finish(one, tiny_workspace(tmp_path), STATE)
    assert made.adapter == ("data/train/adapter" if start == "parent" else None)
    assert (tmp_path / "data/train/adapter").exists() == (start == "parent")
