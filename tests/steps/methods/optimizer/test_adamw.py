import pytest
import torch

from steps.methods.optimizer.adamw import Adamw


def stepped(optimizer: Adamw, gradient: float) -> float:
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    maker = optimizer.make({"weight": weight}, learning_rate=0.1)
    weight.grad = torch.tensor([gradient])
    maker.step()
    return float(weight.detach())


def test_the_first_step_is_the_rate_and_the_decay_pulls_towards_zero() -> None:
    assert stepped(Adamw(), 3.0) == pytest.approx(2.0 - 0.1, abs=1e-6)  # m_hat / sqrt(v_hat) = 1
    assert stepped(Adamw(weight_decay=0.5), 3.0) == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1, abs=1e-6)


def test_fused_takes_the_same_step() -> None:
    assert stepped(Adamw(fused=True), 3.0) == pytest.approx(stepped(Adamw(), 3.0), rel=1e-6)


def test_what_is_released_is_what_was_trained() -> None:
    trained = {"weight": torch.ones(2)}
    assert Adamw().released(trained, Adamw().begin(trained)) is trained
    assert Adamw().slow({}) is None
