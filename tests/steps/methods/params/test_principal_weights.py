import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from steps.core.models import copy_side_files, load_model, save_model
from steps.methods.params import Attached
from steps.methods.params._delta import apply_delta
from steps.methods.params.full import Full
from steps.methods.params.principal_weights import PrincipalWeights
from tests.steps.methods.params.by_hand import network_of_one, steps_of
from tests.steps.methods.params.learning import BATCH, learn
from tests.tiny_models import tiny_model, tiny_workspace
from tests.training import ends_like_one_never_stopped, run, section, weights

WEIGHT = [[4.0, 0.0, 0.1], [0.0, 3.9, 0.0], [4.0, 0.5, 0.0], [0.2, 0.0, 1.0]]
VALUES = "layer.parametrizations.weight.0.values"


def principal(weight: Any, rank: int, count: int) -> list[int]:
    """Where the largest entries of the approximation stand, in flat order."""
    u, s, v = np.linalg.svd(np.asarray(weight, dtype=np.float64), full_matrices=False)
    size = np.abs((u[:, :rank] * s[:rank]) @ v[:rank]).ravel()
    return sorted(np.argsort(-size)[:count].tolist())


def of_one(**knobs: Any) -> tuple[PrincipalWeights, Attached, torch.optim.Optimizer]:
    method = PrincipalWeights(**knobs)
    attached = method.attach(network_of_one(WEIGHT), 0, {})
    attached.optimizer = torch.optim.AdamW(attached.trained.values(), 0.1, weight_decay=0.0)
    return method, attached, attached.optimizer


def step_of_one(method: PrincipalWeights, attached: Attached, step: int, gradient: torch.Tensor) -> None:
    """A step whose dense gradient is given."""
    (attached.network.layer.weight * gradient).sum().backward()
    method.gradients(attached, step)
    assert attached.optimizer is not None
    attached.optimizer.step()
    method.moved(attached, step)
    attached.optimizer.zero_grad()


def indices(attached: Attached) -> list[int]:
    found: list[int] = attached.memory["index/layer"].tolist()
    return found


@pytest.mark.parametrize(("rank", "expected"), [(1, [0, 6]), (2, [0, 4, 6]), (3, [0, 4, 6])])
def test_the_largest_entries_of_the_approximation_are_trained(rank: int, expected: list[int]) -> None:
    _, attached, _ = of_one(rank=rank, share=len(expected) / 12)
    assert indices(attached) == expected == principal(WEIGHT, rank, len(expected))
    assert list(attached.trained) == [VALUES]
    assert torch.equal(attached.trained[VALUES], torch.tensor(WEIGHT).flatten()[expected])


def test_rank_reduction_chooses_other_entries_than_size_alone() -> None:
    """3.9 is larger than 0.5, but stands in the direction that the first singular part leaves out."""
    of_rank_1, of_all = (indices(of_one(rank=rank, share=0.25)[1]) for rank in (1, 3))
    assert 4 in of_all
    assert of_rank_1 == principal(WEIGHT, 1, 3) != of_all


def test_a_rank_below_1_is_a_share_of_the_smaller_side() -> None:
    weight = torch.zeros(10, 6)
    assert [PrincipalWeights(rank=rank).parts(weight) for rank in (0.5, 0.01, 4, 128)] == [3, 1, 4, 6]


def test_the_gradient_is_that_of_the_dense_weight_at_the_places() -> None:
    _, attached, _ = of_one(rank=1, share=0.5)
    x, wanted = torch.tensor([[1.0, 2.0, -1.0]]), torch.tensor([[0.3, 0.1, 0.0, 1.0]])
    (attached.network(x) - wanted).pow(2).sum().backward()
    dense = 2 * (np.array(WEIGHT) @ x.numpy().T - wanted.numpy().T) @ x.numpy()
    assert np.allclose(attached.trained[VALUES].grad, dense.ravel()[indices(attached)], atol=1e-5)


def test_moments_go_with_the_entries_that_stay_and_new_ones_begin_at_zero() -> None:
    method, attached, optimizer = of_one(rank=1, share=0.25, refresh_steps=2)
    before = indices(attached)
    pushed = torch.zeros(4, 3)
    pushed.view(-1)[before[0]] = 1.0
    step_of_one(method, attached, 1, pushed)
    attached.memory["base/layer"][1, 1] = 9.0  # now another direction is the largest
    weight = attached.network.layer.weight.detach().clone()
    method.moved(attached, 2)
    assert indices(attached) == before
    method.look(attached, BATCH)
    after = indices(attached)
    assert after == principal(weight, 1, 3)
    assert 4 in set(after) - set(before)
    state = optimizer.state[attached.trained[VALUES]]
    for moment, expected in (("exp_avg", 0.1), ("exp_avg_sq", 0.001)):
        assert state[moment].tolist() == pytest.approx([expected if place == before[0] else 0.0 for place in after])
    assert int(state["step"]) == 1
    assert torch.equal(attached.network.layer.weight, weight)  # a choice moves no weight


def test_what_is_not_chosen_keeps_its_bits(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "a")
    method = PrincipalWeights(rank=8, share=0.1, refresh_steps=0)
    attached = method.attach(load_model(parent), 0, {})
    chosen = {key.removeprefix("index/"): at for key, at in attached.memory.items() if key.startswith("index/")}
    steps_of(method, attached, 5, weight_decay=0.1)
    state = method.finish(attached, tmp_path / "adapter").state_dict()
    for name, value in load_file(parent / "model.safetensors").items():
        moved = (state[name] != value).flatten().nonzero().flatten()
        expected = chosen.get(name.removesuffix(".weight"), torch.tensor([], dtype=torch.long))
        assert torch.equal(moved, expected), name
    assert len(chosen) == 14


def test_only_the_chosen_entries_have_moments(tmp_path: Path) -> None:
    method = PrincipalWeights(rank=8)
    attached = method.attach(load_model(tiny_model(tmp_path / "a")), 0, {})
    optimizer = steps_of(method, attached, 1)
    entries = sum(round(0.05 * matrix) for matrix in 2 * ([64 * 64] * 4 + [64 * 128] * 3))
    assert sum(tensor.numel() for tensor in attached.trained.values()) == entries
    assert sum(state["exp_avg"].numel() for state in optimizer.state.values()) == entries


def test_without_a_step_it_is_the_parent_exactly(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "a")
    method = PrincipalWeights()
    state = method.finish(method.attach(load_model(parent), 0, {}), tmp_path / "adapter").state_dict()
    assert all(torch.equal(state[name], value) for name, value in load_file(parent / "model.safetensors").items())


def test_at_share_1_it_is_full_training_of_the_matrices(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "a")
    method = PrincipalWeights(share=1.0)
    attached = method.attach(load_model(parent), 0, {})
    steps_of(method, attached, 5)
    network = load_model(parent).requires_grad_(False)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_("_proj" in name)
    steps_of(Full(), Attached.open(network), 5)
    state, expected = method.finish(attached, tmp_path / "x").state_dict(), network.state_dict()
    assert all(torch.allclose(state[name], value, atol=1e-5, rtol=0) for name, value in expected.items())


SETTINGS = section(params={"method": "principal-weights", "rank": 8, "refresh_steps": 3})


def test_the_delta_makes_the_trained_weights_of_the_parents_to_the_bit(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    trained = run(workspace, SETTINGS, 8)
    assert trained.model.adapter is not None
    rebuilt = load_file(workspace.root / "parent" / "model.safetensors")
    before = {name: value.clone() for name, value in rebuilt.items()}
    apply_delta(workspace.at(trained.model.adapter), rebuilt)
    released = weights(workspace, trained)
    assert all(torch.equal(rebuilt[name], value) for name, value in released.items())
    moved = sum(int((rebuilt[name] != before[name]).sum()) for name in before)
    tensors = load_file(workspace.at(trained.model.adapter) / "delta.safetensors")
    kept = sum(len(tensor) for name, tensor in tensors.items() if name.endswith("/index"))
    assert 0 < moved <= kept < 0.2 * sum(value.numel() for value in before.values())
    assert {tensor.dtype for name, tensor in tensors.items() if name.endswith("/index")} == {torch.int32}


def test_the_delta_makes_a_bfloat16_model_the_released_one(tmp_path: Path) -> None:
    parent = tmp_path / "b"
    load_model(tiny_model(tmp_path / "a")).to(torch.bfloat16).save_pretrained(parent)
    copy_side_files(tmp_path / "a", parent)
    method = PrincipalWeights(rank=8, refresh_steps=3)
    attached = method.attach(load_model(parent), 0, {})
    learn(method, attached)
    save_model(method.finish(attached, tmp_path / "adapter"), tmp_path / "c", parent)
    rebuilt = load_file(parent / "model.safetensors")
    apply_delta(tmp_path / "adapter", rebuilt)
    released = load_file(tmp_path / "c" / "model.safetensors")
    assert all(torch.equal(rebuilt[name], value) for name, value in released.items())


def test_a_delta_is_refused_by_another_models_weights(tmp_path: Path) -> None:
    method, attached, _ = of_one()
    method.finish(attached, tmp_path)
    with pytest.raises(
        ValueError, match=r"layer.weight wants shape \[4, 3\], found \[3, 4\]; give the parent's weights"
    ):
        apply_delta(tmp_path, {"layer.weight": torch.zeros(3, 4)})


def test_what_is_trained_and_remembered_is_all_that_makes_the_model(tmp_path: Path) -> None:
    """A plateau is kept as these two, and made a model again from the weights that training began with."""
    method, parent = PrincipalWeights(rank=8, refresh_steps=2), tiny_model(tmp_path / "a")
    attached = learn(method, method.attach(load_model(parent), 0, {}), num_steps=7)
    again = method.attach(load_model(parent), 0, {})
    with torch.no_grad():
        for name, tensor in attached.trained.items():
            again.trained[name].copy_(tensor)
        for name, tensor in attached.memory.items():
            again.memory[name].copy_(tensor)
    made, expected = (method.finish(one, tmp_path / "x").state_dict() for one in (again, attached))
    assert all(torch.equal(made[name], value) for name, value in expected.items())


@pytest.mark.parametrize("refresh_steps", [3, 5])
def test_it_trains_and_resumes_exactly_across_several_choices(tmp_path: Path, refresh_steps: int) -> None:
    """Stopped after step 13, it goes on from the checkpoint of step 10, after which one choice of the two is due."""
    knobs = {"method": "principal-weights", "rank": 8, "refresh_steps": refresh_steps}
    ends_like_one_never_stopped(tmp_path, section(params=knobs))


def test_it_resumes_exactly_where_entries_are_chosen_once(tmp_path: Path) -> None:
    knobs = {"method": "principal-weights", "rank": 8, "refresh_steps": 0}
    ends_like_one_never_stopped(tmp_path, section(params=knobs))


def test_a_choice_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    method, attached, _ = of_one(rank=1, share=0.25, refresh_steps=2)
    with caplog.at_level(logging.INFO):
        step_of_one(method, attached, 2, torch.zeros(4, 3))
        method.look(attached, BATCH)
        method.look(attached, BATCH)
    assert caplog.messages == ["0 of 3 trained entries are others from here on"]


def test_a_rank_that_takes_nothing_away_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    of_one(rank=128)
    assert caplog.messages == ["rank 128 takes nothing away from 1 matrices, such as layer"]


def test_an_average_of_entries_that_change_is_refused(tmp_path: Path) -> None:
    given = {"params": SETTINGS.params, "optimizer": {"method": "ema", "slow_weight": 0.9}}
    with pytest.raises(ValueError, match="trains other entries after every 3 steps, but average remembers something"):
        run(tiny_workspace(tmp_path / "a"), section(**given), 4)
    once = {"method": "principal-weights", "rank": 8, "refresh_steps": 0}
    run(tiny_workspace(tmp_path / "b"), section(**given | {"params": once}), 4)


def test_moments_that_are_shared_by_entries_are_refused() -> None:
    class Blockwise(torch.optim.AdamW):
        """Stands for one whose moments are quantised by blocks."""

    method, attached, _ = of_one()
    attached.optimizer = Blockwise(attached.trained.values())
    with pytest.raises(ValueError, match="but the optimiser Blockwise remembers something of each"):
        method.check(attached, {})


def test_a_target_that_names_no_layer_is_answered_with_the_layers() -> None:
    with pytest.raises(ValueError, match=r"principal-weights: target_modules 'q_proj' fits no linear layer; .*'layer'"):
        of_one(target_modules=("q_proj",))


@pytest.mark.parametrize("knobs", [{"share": 0.0}, {"share": 1.5}, {"rank": 0}, {"rank": 1.5}, {"refresh_steps": -1}])
def test_knobs_out_of_range_are_refused(knobs: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(knobs))):
        PrincipalWeights(**knobs)
