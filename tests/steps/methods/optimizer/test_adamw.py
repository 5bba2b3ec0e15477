from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from steps.methods.optimizer.adamw import Adamw
from tests.steps.methods.optimizer.by_hand import stepped
from tests.training import ends_like_one_never_stopped, section


def test_the_first_step_is_the_rate_and_the_decay_pulls_towards_zero() -> None:
    assert stepped(Adamw(), 3.0) == pytest.approx(2.0 - 0.1, abs=1e-6)  # m_hat / sqrt(v_hat) = 1
    assert stepped(Adamw(weight_decay=0.5), 3.0) == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1, abs=1e-6)


def test_two_steps_by_hand() -> None:
    m, v, weight = 0.0, 0.0, 2.0
    for step, gradient in enumerate((3.0, -1.0), 1):
        m, v = 0.8 * m + 0.2 * gradient, 0.9 * v + 0.1 * gradient**2
        weight -= 0.1 * (m / (1 - 0.8**step)) / ((v / (1 - 0.9**step)) ** 0.5 + 1e-8)
    assert stepped(Adamw(betas=(0.8, 0.9)), 3.0, -1.0) == pytest.approx(weight, abs=1e-6)


def test_fused_takes_the_same_step() -> None:
    assert stepped(Adamw(fused=True), 3.0) == pytest.approx(stepped(Adamw(), 3.0), rel=1e-6)


def test_without_decay_it_is_adam_to_the_bit() -> None:
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    adam = torch.optim.Adam([weight], 0.1, (0.9, 0.95))
    for gradient in (3.0, -1.0, 0.5):
        weight.grad = torch.tensor([gradient])
        adam.step()
    assert stepped(Adamw(), 3.0, -1.0, 0.5) == float(weight.detach())


def test_only_matrices_decay_if_that_is_asked() -> None:
    trained = {"matrix": torch.ones(2, 2), "bias": torch.ones(2)}
    for method, kept in ((Adamw(weight_decay=0.5), 0.95), (Adamw(weight_decay=0.5, decay="matrices"), 1.0)):
        parameters = {name: torch.nn.Parameter(tensor.clone()) for name, tensor in trained.items()}
        optimizer = method.make(parameters, 0.1)
        for parameter in parameters.values():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        assert float(parameters["matrix"].detach()[0, 0]) == pytest.approx(0.95)
        assert float(parameters["bias"].detach()[0]) == pytest.approx(kept)


def test_what_is_released_is_what_was_trained() -> None:
    trained = {"weight": torch.ones(2)}
    assert Adamw().released(trained, Adamw().begin(trained)) is trained
    assert Adamw().slow({}) is None
    assert Adamw().doubts([0, 0]) is None


@pytest.mark.parametrize("knobs", [{"fused": True}, {"weight_decay": 0.1, "decay": "matrices"}])
def test_a_run_that_was_stopped_ends_like_one_that_was_not(tmp_path: Path, knobs: dict[str, Any]) -> None:
    ends_like_one_never_stopped(tmp_path, section(optimizer={"method": "adamw", **knobs}))


def test_a_negative_decay_is_refused() -> None:
    with pytest.raises(ValidationError, match="weight_decay"):
        Adamw(weight_decay=-0.1)
