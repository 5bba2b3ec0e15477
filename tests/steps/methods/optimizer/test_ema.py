from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from steps.core.blocks import MicroBatch
from steps.core.forward import outputs_at
from steps.core.models import load_model
from steps.core.training import HeldOut, accelerator_on
from steps.learning.learner import Learner
from steps.learning.released import release
from steps.methods.optimizer.adamw import Adamw
from steps.methods.optimizer.ema import Ema
from tests.steps.methods.optimizer.by_hand import stepped, walked
from tests.tiny_models import STATE, rows_of, tiny_model, tiny_workspace, validation_items
from tests.training import ends_like_one_never_stopped, run, section


def test_the_slow_memory_follows_and_is_released() -> None:
    places, memory = walked(Ema(slow_weight=0.75), [4.0, 8.0])
    assert places == [4.0, 8.0, 0.75 * (0.25 * 4) + 0.25 * 8]  # fast 4 and 8 stay; slow 1, then 2.75
    assert float(memory["weight"]) == 2.75


def test_a_warm_up_lets_it_follow_sooner() -> None:
    places, _ = walked(Ema(slow_weight=0.99, warm_up_steps=9), [1.0])
    assert places[-1] == pytest.approx(1 - 2 / 10)  # (1 + 1) / (9 + 1)
    places, _ = walked(Ema(slow_weight=0.1, warm_up_steps=9), [1.0])
    assert places[-1] == pytest.approx(0.9)  # never above slow_weight


def test_after_many_steps_in_one_place_it_is_there() -> None:
    places, _ = walked(Ema(slow_weight=0.9), [1.0] * 300)
    assert places[-1] == pytest.approx(1.0, abs=1e-6)


def test_the_fast_memory_moves_as_with_adamw() -> None:
    assert stepped(Ema(weight_decay=0.5), 3.0, -1.0) == stepped(Adamw(weight_decay=0.5), 3.0, -1.0)


def test_without_a_slow_weight_it_is_adamw_to_the_bit(tmp_path: Path) -> None:
    one, other = tiny_workspace(tmp_path / "1"), tiny_workspace(tmp_path / "2")
    plain = run(one, section())
    averaged = run(other, section(optimizer={"method": "ema", "slow_weight": 0}))
    assert rows_of(one.at(plain.history)) == rows_of(other.at(averaged.history))
    assert plain.model.digest == averaged.model.digest


@pytest.mark.parametrize("params", [{"method": "full"}, {"method": "lora", "rank": 4, "alpha": 8}])
def test_what_was_validated_last_is_the_slow_memory_and_is_released(tmp_path: Path, params: dict[str, Any]) -> None:
    settings = section(params=params, optimizer={"method": "ema", "slow_weight": 0.9})
    whole = ends_like_one_never_stopped(tmp_path, settings)
    straight, plain = tiny_workspace(tmp_path / "straight"), tiny_workspace(tmp_path / "plain")
    rows = rows_of(straight.at(whole.history))
    fast = rows_of(plain.at(run(plain, section(params=params), 20).history))
    assert [row["train/loss_nats_per_token"] for row in rows[1:]] == [
        row["train/loss_nats_per_token"] for row in fast[1:]
    ]
    items = HeldOut(straight.root / "data/split", validation_items(straight), straight.root / "parent", 16, 64)
    told = items.losses(load_model(straight.at(whole.model.path)))
    assert rows[-1]["train/validation_alpha"] == pytest.approx(told["train/validation_alpha"], rel=1e-5)
    assert rows[-1]["train/validation_alpha"] != pytest.approx(fast[-1]["train/validation_alpha"], rel=1e-3)
    assert rows[-1]["train/validation_alpha"] < rows[0]["train/validation_alpha"]


def memories(root: Path, params: dict[str, Any]) -> Learner:
    """A learner with both memories apart: the fast one has moved twice, and the slow one has followed."""
    settings = section(
        params=params,
        objective=["next-token", {"method": "feature-distill", "teacher": "slow"}],
        optimizer={"method": "ema", "slow_weight": 0.5},
    )
    parent = tiny_model(root / "parent")
    methods = (settings.params, settings.objective, settings.optimizer, settings.learning_rate)
    accelerator = accelerator_on("cpu", "float32")
    found = Learner(tiny_workspace(root), accelerator, *methods, start=parent, parent=parent, state=STATE)
    generator = torch.Generator().manual_seed(0)
    for step in (1, 2):
        for tensor in found.trained.values():
            tensor.grad = torch.randn(tensor.shape, generator=generator)
        found.step(step, 0.05)
    return found


@pytest.mark.parametrize("params", [{"method": "full"}, {"method": "lora", "rank": 4, "alpha": 8}])
def test_the_teacher_slow_says_what_the_released_model_says(tmp_path: Path, params: dict[str, Any]) -> None:
    """With LoRA these are the two memories of I-LoRA: A and B are averaged, and the rest is shared."""
    found = memories(tmp_path, params)
    ids_BT = torch.arange(4, 36).reshape(2, 16)
    batch = MicroBatch(ids_BT, torch.ones_like(ids_BT, dtype=torch.bool), None, None, None, ["replay/general"] * 2)
    slow = found.teachers["slow"].outputs(batch).hidden
    with torch.no_grad():
        fast = outputs_at(found.network, batch, hidden=True).hidden
        release(found)
        released = outputs_at(found.network, batch, hidden=True).hidden
    assert slow is not None
    assert fast is not None
    assert torch.allclose(slow, released, atol=1e-6)
    assert not torch.allclose(slow, fast, atol=1e-3)


def test_two_memories_that_are_kept_together_train_and_resume(tmp_path: Path) -> None:
    """I-LoRA: LoRA's fast and slow memory, and on replayed text the distance of their states."""
    params, optimizer = {"method": "lora", "rank": 4, "alpha": 8}, {"method": "ema", "slow_weight": 0.9}
    apart, together = tiny_workspace(tmp_path / "apart"), tiny_workspace(tmp_path / "straight")
    objective = ["next-token", {"method": "feature-distill", "teacher": "slow", "weight": 10}]
    whole = ends_like_one_never_stopped(tmp_path, section(params=params, optimizer=optimizer, objective=objective))
    alone = run(apart, section(params=params, optimizer=optimizer), 20)
    rows = rows_of(together.at(whole.history))
    distances = [row["train/objective_feature-distill"] for row in rows[1:]]
    assert distances[0] == 0, "they begin in one place"
    assert min(distances[2:]) > 0
    assert rows[-1]["train/validation_alpha"] < rows[0]["train/validation_alpha"]
    assert rows[-1] != rows_of(apart.at(alone.history))[-1]


def test_a_slow_memory_that_never_moves_is_refused() -> None:
    with pytest.raises(ValidationError, match="slow_weight"):
        Ema(slow_weight=1.0)
