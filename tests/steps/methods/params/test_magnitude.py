from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from steps.core.blocks import MicroBatch
from steps.core.models import load_model
from steps.methods.params import Attached
from steps.methods.params.magnitude import Magnitude
from tests.steps.methods.params.by_hand import INPUT_IDS, network_of_one, one_step, steps_of
from tests.tiny_models import tiny_model, tiny_workspace
from tests.training import ends_like_one_never_stopped, run, section, weights

WEIGHT = [[1.0, 0.0], [0.0, 0.1], [2.0, -1.0], [0.0, 3.0]]
FIRST = [[[1.0, 0.0], [0.0, 2.0]]]  # two tokens of two numbers
SECOND = [[[-1.0, 1.0], [9.0, 9.0]]]  # the last one is padding


def batch(tokens: list[list[list[float]]], padding: list[list[bool]] | None = None) -> MicroBatch:
    input_ids = torch.zeros(len(tokens), len(tokens[0]), dtype=torch.long)
    is_padding = None if padding is None else torch.tensor(padding)
    return MicroBatch(input_ids, torch.ones_like(input_ids, dtype=torch.bool), None, None, is_padding, ["new"])


def passed(method: Magnitude, attached: Attached, tokens: Any, padding: Any = None) -> torch.Tensor:
    method.look(attached, batch(tokens, padding))
    found: torch.Tensor = attached.network(torch.tensor(tokens)).pow(2).sum()
    return found


def attached_to_one(method: Magnitude, number: int = 0) -> tuple[Attached, Any, torch.optim.Optimizer]:
    past = {"num_refreshes": torch.tensor(number)} if number else {}
    attached = method.attach(network_of_one(WEIGHT), 0, past)
    return attached, attached.network.layer, torch.optim.AdamW(attached.trained.values(), 0.1, weight_decay=0.1)


def step_of_one(method: Magnitude, attached: Attached, optimizer: torch.optim.Optimizer) -> None:
    """Two micro-batches, then the optimiser's step."""
    passed(method, attached, FIRST).backward()
    passed(method, attached, SECOND, [[False, True]]).backward()
    method.gradients(attached, 1)
    optimizer.step()
    method.moved(attached, 1)
    optimizer.zero_grad()


def rows_that_moved(layer: Any, before: torch.Tensor) -> list[int]:
    return [row for row in range(len(before)) if not torch.equal(layer.weight[row], before[row])]


def test_the_sum_is_over_all_tokens_of_a_step_that_are_no_padding() -> None:
    method = Magnitude(quantile=0.5)
    attached, _, _ = attached_to_one(method)
    passed(method, attached, FIRST)
    passed(method, attached, SECOND, [[False, True]])
    tokens = np.array(FIRST[0] + SECOND[0][:1])
    expected = np.abs(tokens @ np.array(WEIGHT).T).sum(axis=0)
    assert attached.memory["magnitude/layer"].tolist() == pytest.approx(expected.tolist())
    assert expected.tolist() == pytest.approx([2.0, 0.3, 7.0, 9.0])


@pytest.mark.parametrize(("quantile", "moved"), [(0.0, [0, 1, 2, 3]), (0.3, [0, 2, 3]), (0.5, [2, 3]), (0.7, [3])])
def test_only_the_rows_at_or_above_the_quantile_move(quantile: float, moved: list[int]) -> None:
    method = Magnitude(quantile=quantile)  # of 0.3, 2, 7, 9 the quantile 0.3 is 1.83, 0.5 is 4.5, 0.7 is 7.2
    attached, layer, optimizer = attached_to_one(method)
    before = layer.weight.detach().clone()
    step_of_one(method, attached, optimizer)
    assert rows_that_moved(layer, before) == moved


def test_the_masked_gradient_is_that_of_the_source() -> None:
    method = Magnitude(quantile=0.5, mask="gradient")
    attached, layer, _ = attached_to_one(method)
    passed(method, attached, FIRST).backward()
    passed(method, attached, SECOND).backward()
    tokens = np.array(FIRST[0] + SECOND[0])
    outputs = tokens @ np.array(WEIGHT).T
    dense = 2 * outputs.T @ tokens
    size = np.abs(outputs).sum(axis=0)
    expected = dense * (size >= np.quantile(size, 0.5))[:, None]
    method.gradients(attached, 1)
    assert np.allclose(layer.weight.grad, expected, atol=1e-5)


def test_a_masked_gradient_alone_lets_the_optimizer_move_the_row() -> None:
    method = Magnitude(quantile=0.5, mask="gradient")
    attached, layer, optimizer = attached_to_one(method)
    before = layer.weight.detach().clone()
    step_of_one(method, attached, optimizer)
    assert rows_that_moved(layer, before) == [0, 1, 2, 3]  # weight decay


def test_each_step_counts_anew_unless_it_is_told_never_to() -> None:
    sums = []
    for reset in ("each-step", "never"):
        method = Magnitude(reset=reset)
        attached, _, optimizer = attached_to_one(method)
        step_of_one(method, attached, optimizer)
        sums.append(attached.memory["magnitude/layer"].tolist())
    assert sums[0] == [0.0] * 4
    assert sums[1] == pytest.approx([2.0, 0.3, 7.0, 9.0])


def test_a_pass_that_was_not_announced_does_not_count() -> None:
    method = Magnitude()
    attached, _, _ = attached_to_one(method)
    passed(method, attached, FIRST)
    once = attached.memory["magnitude/layer"].clone()
    attached.network(torch.tensor(FIRST))  # validation, or a teacher that shares the network
    assert torch.equal(attached.memory["magnitude/layer"], once)


def test_outputs_that_are_no_numbers_leave_no_trace() -> None:
    method = Magnitude(reset="never")
    attached, _, _ = attached_to_one(method)
    passed(method, attached, FIRST)
    once = attached.memory["magnitude/layer"].clone()
    passed(method, attached, [[[float("nan"), 1.0], [float("inf"), 1.0]]])
    assert torch.equal(attached.memory["magnitude/layer"], once)


@pytest.mark.parametrize("reentrant", [True, False])
def test_what_is_computed_again_for_the_gradient_counts_once(tmp_path: Path, reentrant: bool) -> None:
    found = []
    for checkpointing in (False, True):
        method = Magnitude()
        attached = method.attach(load_model(tiny_model(tmp_path / "a")), 0, {})
        if checkpointing:
            attached.network.gradient_checkpointing_enable({"use_reentrant": reentrant})
            attached.network.train()
        method.look(attached, MicroBatch(INPUT_IDS, INPUT_IDS > 0, None, None, None, ["new"]))
        attached.network(input_ids=INPUT_IDS, labels=INPUT_IDS, use_cache=False).loss.backward()
        found.append(attached.memory)
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_layers_that_are_computed_again_train_the_same(tmp_path: Path) -> None:
    params = {"method": "magnitude", "reset": "never"}
    made = []
    for again in (False, True):
        workspace = tiny_workspace(tmp_path / str(again))
        made.append(weights(workspace, run(workspace, section(params=params, gradient_checkpointing=again), 4)))
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


def test_biases_go_with_their_rows() -> None:
    network = network_of_one(WEIGHT)
    network.layer.bias = torch.nn.Parameter(torch.zeros(4))
    method = Magnitude(quantile=0.7)
    attached = method.attach(network, 0, {})
    step_of_one(method, attached, torch.optim.AdamW(attached.trained.values(), 0.1))
    assert (network.layer.bias != 0).tolist() == [False, False, False, True]


def test_a_model_line_may_train_its_first_refresh_whole() -> None:
    moved = []
    for number in (0, 1):
        method = Magnitude(quantile=0.7, from_refresh=2)
        attached, layer, optimizer = attached_to_one(method, number)
        before = layer.weight.detach().clone()
        step_of_one(method, attached, optimizer)
        moved.append(rows_that_moved(layer, before))
        assert method.keep(attached)["num_refreshes"] == number + 1
    assert moved == [[0, 1, 2, 3], [3]]


def test_at_quantile_0_it_is_full_training_exactly(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    full = weights(workspace, run(workspace, section(), 3))
    masked = weights(workspace, run(workspace, section(params={"method": "magnitude", "quantile": 0.0}), 3))
    assert all(torch.equal(full[name], masked[name]) for name in full)


def test_without_a_step_it_is_the_parent_exactly_and_leaves_no_adapter(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "a")
    method = Magnitude()
    state = method.finish(method.attach(load_model(parent), 0, {}), tmp_path / "adapter").state_dict()
    assert all(torch.equal(state[name], value) for name, value in load_file(parent / "model.safetensors").items())
    assert not (tmp_path / "adapter").exists()


def test_of_a_network_the_share_of_rows_that_is_kept_keeps_its_bits(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "a")
    method = Magnitude(quantile=0.75, target_modules=("gate_proj", "o_proj"))
    attached = method.attach(load_model(parent), 0, {})
    method.look(attached, MicroBatch(INPUT_IDS, INPUT_IDS > 0, None, None, None, ["new"]))
    one_step(method, attached, torch.optim.AdamW(attached.trained.values(), 1e-2, weight_decay=0.1), 1)
    state = attached.network.state_dict()
    for name, value in load_file(parent / "model.safetensors").items():
        same = (state[name] == value).flatten(1).all(1).float().mean() if value.ndim == 2 else 0.0
        assert same == (0.75 if "gate_proj" in name or "o_proj" in name else 0.0), name


@pytest.mark.parametrize("reset", ["each-step", "never"])
def test_it_trains_and_resumes_exactly(tmp_path: Path, reset: str) -> None:
    knobs = {"method": "magnitude", "reset": reset}
    ends_like_one_never_stopped(tmp_path, section(params=knobs, optimizer={"method": "adamw", "weight_decay": 0.1}))


def test_without_announced_passes_nothing_is_masked(tmp_path: Path) -> None:
    attached = Magnitude().attach(load_model(tiny_model(tmp_path / "a")), 0, {})
    before = {name: tensor.detach().clone() for name, tensor in attached.trained.items()}
    steps_of(Magnitude(), attached, 1, weight_decay=0.1)
    assert not any(torch.equal(tensor, before[name]) for name, tensor in attached.trained.items())


def test_outputs_that_are_not_in_the_order_of_the_tokens_are_refused() -> None:
    method = Magnitude()
    attached, _, _ = attached_to_one(method)
    method.look(attached, batch(FIRST))
    with pytest.raises(ValueError, match=r"magnitude: layer wanted outputs of \[1, 2\] tokens, found \[2\]"):
        attached.network(torch.tensor(FIRST[0]))


def test_a_target_that_names_no_layer_is_answered_with_the_layers(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"magnitude: target_modules 'query' fits no linear layer; there are: .*'q_proj"
    ):
        Magnitude(target_modules=("query",)).attach(load_model(tiny_model(tmp_path / "a")), 0, {})
