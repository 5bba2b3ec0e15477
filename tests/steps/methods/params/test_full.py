from pathlib import Path

import torch
from safetensors.torch import load_file

from steps.core.models import load_model
from steps.methods.params.full import Full
from tests.tiny_models import tiny_model


def test_every_parameter_is_trained(tmp_path: Path) -> None:
    attached = Full().attach(load_model(tiny_model(tmp_path / "a")).requires_grad_(False), 0, {})
    assert all(parameter.requires_grad for parameter in attached.network.parameters())
    assert list(attached.trained) == [name for name, _ in attached.network.named_parameters()]


def test_without_a_step_it_is_the_parent_exactly_and_leaves_no_adapter(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "a")
    full = Full()
    network = full.finish(full.attach(load_model(parent), 0, {}), tmp_path / "adapter")
    state = network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in load_file(parent / "model.safetensors").items())
    assert not (tmp_path / "adapter").exists()
