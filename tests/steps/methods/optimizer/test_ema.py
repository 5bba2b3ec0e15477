from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from steps.core.models import load_model
from steps.core.training import HeldOut
from steps.methods.optimizer.adamw import Adamw
from steps.methods.optimizer.ema import Ema
from tests.steps.methods.optimizer.by_hand import stepped, walked
from tests.tiny_models import rows_of, tiny_workspace, validation_items
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


def test_a_slow_memory_that_never_moves_is_refused() -> None:
    with pytest.raises(ValidationError, match="slow_weight"):
        Ema(slow_weight=1.0)
