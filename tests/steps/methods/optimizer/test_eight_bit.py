import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from steps.methods.optimizer.adamw import Adamw
from steps.methods.optimizer.eight_bit import EightBit
from tests.tiny_models import rows_of, tiny_workspace
from tests.training import ends_like_one_never_stopped, run, section


@pytest.fixture
def installed() -> None:
    pytest.importorskip("bitsandbytes", reason="pip install 'perennial[eight-bit]'")


def moved(method: Adamw | EightBit, steps: int = 5) -> torch.Tensor:
    """A matrix after some steps, on gradients of a fixed seed that are not too unlike each other."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(64, 64, generator=generator))
    optimizer = method.make({"weight": weight}, 0.01)
    slope = torch.randn(64, 64, generator=generator)
    for _ in range(steps):
        weight.grad = slope + 0.1 * torch.randn(64, 64, generator=generator)
        optimizer.step()
    return weight.detach()


def test_without_bitsandbytes_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(ValueError, match=r"needs bitsandbytes; pip install 'perennial\[eight-bit\]', or use adamw"):
        moved(EightBit())


@pytest.mark.usefixtures("installed")
def test_small_tensors_move_as_with_adamw() -> None:
    knobs = {"weight_decay": 0.1}
    assert torch.allclose(moved(EightBit(min_elements=64 * 64 + 1, **knobs)), moved(Adamw(**knobs)), atol=1e-5)


@pytest.mark.usefixtures("installed")
def test_large_ones_move_nearly_so_and_keep_a_byte_for_each_moment() -> None:
    start = moved(Adamw(), steps=0)
    way, plain = moved(EightBit()) - start, moved(Adamw()) - start
    assert 0 < float((way - plain).norm() / plain.norm()) < 0.02
    weight = torch.nn.Parameter(torch.zeros(64, 64))
    optimizer = EightBit().make({"weight": weight}, 0.01)
    weight.grad = torch.ones(64, 64)
    optimizer.step()
    state = optimizer.state[weight]
    assert {state["state1"].dtype, state["state2"].dtype} == {torch.uint8}
    assert state["absmax1"].numel() == 64 * 64 / 256
    assert state["step"] == 1


@pytest.mark.usefixtures("installed")
def test_it_trains_and_a_run_that_was_stopped_ends_like_one_that_was_not(tmp_path: Path) -> None:
    whole = ends_like_one_never_stopped(tmp_path, section(optimizer={"method": "eight-bit"}))
    straight, plain = tiny_workspace(tmp_path / "straight"), tiny_workspace(tmp_path / "plain")
    rows, like = rows_of(straight.at(whole.history)), rows_of(plain.at(run(plain, section(), 20).history))
    name = "train/loss_nats_per_token"
    assert rows[-1][name] < rows[1][name]
    assert rows[1][name] == like[1][name]
    assert rows[2][name] == pytest.approx(like[2][name], rel=1e-2)


@pytest.mark.usefixtures("installed")
def test_paged_moments_on_a_cpu_are_refused() -> None:
    with pytest.raises(ValueError, match="paged moments wanted a GPU, found a CPU; set paged to false"):
        moved(EightBit(paged=True))


def test_blocks_without_elements_are_refused() -> None:
    with pytest.raises(ValidationError, match="min_elements"):
        EightBit(min_elements=0)
