from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from steps.methods.optimizer.adamw import Adamw
from steps.methods.optimizer.meta_replay import MetaReplay
from steps.train import train
from tests.steps.methods.optimizer.by_hand import stepped, walked
from tests.tiny_models import STATE, parent_model, rows_of, tiny_workspace, training_set, validation_items
from tests.training import ends_like_one_never_stopped, run, section, weights


def test_every_interval_most_of_the_way_is_taken_back() -> None:
    method = MetaReplay(interpolation=0.25, interval_steps=2)
    places, memory = walked(method, [3.0, 4.0, 7.0, 9.0])
    assert places[:4] == [3.0, 1.0, 7.0, 3.0]  # 0 + (4 - 0) / 4; 1 + (9 - 1) / 4
    assert places[4] == 3.0
    assert float(memory["before/weight"]) == 3.0


@pytest.mark.parametrize(("last", "released"), [("interpolate", 2.0), ("keep", 5.0)])
def test_the_interval_that_the_end_cuts_off(last: Any, released: float) -> None:
    places, _ = walked(MetaReplay(interpolation=0.25, interval_steps=2, last_interval=last), [3.0, 4.0, 5.0])
    assert places == [3.0, 1.0, 5.0, released]  # 1 + (5 - 1) / 4


def test_released_twice_it_is_the_same() -> None:
    method, trained = MetaReplay(interpolation=0.5), {"weight": torch.tensor([0.0])}
    memory = method.begin(trained)
    trained["weight"].fill_(4.0)
    method.moved(trained, memory, 1)
    assert [float(method.released(trained, memory)["weight"]) for _ in range(2)] == [2.0, 2.0]


def test_the_moments_are_kept_at_an_interpolation() -> None:
    gradients = (3.0, -1.0, 0.5)
    assert stepped(MetaReplay(interpolation=0.1), *gradients) == stepped(Adamw(), *gradients)
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    method = MetaReplay(interpolation=0.1, interval_steps=1)
    memory, optimizer = method.begin({"weight": weight}), method.make({"weight": weight}, 0.1)
    weight.grad = torch.tensor([3.0])
    optimizer.step()
    before = {key: value.clone() for key, value in optimizer.state[weight].items()}
    method.moved({"weight": weight}, memory, 1)
    assert float(weight.detach()) == pytest.approx(2 - 0.1 * 0.1, abs=1e-6)
    assert all(torch.equal(optimizer.state[weight][key], value) for key, value in before.items())


def test_the_way_of_some_steps_rewards_gradients_that_agree() -> None:
    """On losses (x - c)' A (x - c) / 2: the way of k steps is -(b sum g_i - b^2 sum_{j<i} A_i g_j), to second order."""
    generator = torch.Generator().manual_seed(0)
    factors_K22 = torch.randn(4, 2, 2, generator=generator, dtype=torch.float64)
    curves_K22 = factors_K22 @ factors_K22.mT
    centres_K2 = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    gradients_K2 = (curves_K22 @ -centres_K2[..., None])[..., 0]  # at x = 0

    def way(rate: float) -> torch.Tensor:
        x = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        optimizer = torch.optim.SGD([x], rate)
        for curve, centre in zip(curves_K22, centres_K2, strict=True):
            optimizer.zero_grad()
            ((x - centre) @ curve @ (x - centre) / 2).backward()
            optimizer.step()
        return x.detach()

    pairs = sum((curves_K22[i] @ gradients_K2[j] for i in range(4) for j in range(i)), torch.zeros(2).double())
    for rate in (1e-3, 1e-4):
        expected = -(rate * gradients_K2.sum(dim=0) - rate**2 * pairs)
        error, second = (way(rate) - expected).norm(), rate**2 * pairs.norm()
        assert error < 30 * rate * second  # what is left is of third order
        assert second > 0


def test_if_all_of_the_way_is_kept_it_is_adamw_to_the_bit(tmp_path: Path) -> None:
    one, other = tiny_workspace(tmp_path / "1"), tiny_workspace(tmp_path / "2")
    plain = run(one, section())
    meta = run(other, section(optimizer={"method": "meta-replay", "interpolation": 1.0, "interval_steps": 3}))
    assert rows_of(one.at(plain.history)) == rows_of(other.at(meta.history))
    assert plain.model.digest == meta.model.digest
    assert MetaReplay(interpolation=1.0).begin({"weight": torch.ones(2)}) == {}, "and it needs no memory"


@pytest.mark.parametrize("params", [{"method": "full"}, {"method": "lora", "rank": 4, "alpha": 8}])
def test_it_trains_resumes_within_an_interval_and_goes_less_far(tmp_path: Path, params: dict[str, Any]) -> None:
    optimizer = {"method": "meta-replay", "interpolation": 0.5, "interval_steps": 4}
    whole = ends_like_one_never_stopped(tmp_path, section(params=params, optimizer=optimizer))
    straight, plain = tiny_workspace(tmp_path / "straight"), tiny_workspace(tmp_path / "plain")
    rows = rows_of(straight.at(whole.history))
    assert rows[-1]["train/validation_alpha"] < rows[0]["train/validation_alpha"]
    far, near = weights(plain, run(plain, section(params=params), 20)), weights(straight, whole)
    parent = weights_of_parent(tmp_path)
    assert distance(near, parent) < 0.9 * distance(far, parent)


def test_text_that_is_not_replayed_or_not_in_turns_is_told() -> None:
    method = MetaReplay(interpolation=0.1, interval_steps=3)
    assert "nothing is replayed" in (method.doubts([0] * 9) or "")
    assert "steps 4 to 6 replay nothing" in (method.doubts([0, 0, 5, 0, 0, 0, 1, 0, 0]) or "")
    assert method.doubts([5, 0, 0, 0, 5, 0, 0]) is None  # the last interval is a short one


def test_the_stage_tells_it_before_the_first_step(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = section(optimizer={"method": "meta-replay", "interpolation": 0.5})
    run(tiny_workspace(tmp_path / "replayed"), settings, 2)
    assert "meta-replay" not in caplog.text
    workspace = tiny_workspace(tmp_path / "new")
    blocks, plan = training_set(workspace, 2), tmp_path / "new/data/mix/plan.json"
    plan.write_text(plan.read_text().replace("replay/general", "new/general"))
    train(workspace, settings, parent_model(workspace), STATE, blocks, validation_items(workspace))
    assert "train.optimizer: meta-replay aligns new with replayed text, and nothing is replayed" in caplog.text


def test_the_share_that_is_kept_has_no_default() -> None:
    with pytest.raises(ValidationError, match="interpolation"):
        section(optimizer="meta-replay")
    for wrong in (0.0, 1.5):
        with pytest.raises(ValidationError, match="interpolation"):
            MetaReplay(interpolation=wrong)


def weights_of_parent(root: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(root / "straight/parent/model.safetensors")


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return float(sum(((one[name] - other[name]) ** 2).sum() for name in one) ** 0.5)
