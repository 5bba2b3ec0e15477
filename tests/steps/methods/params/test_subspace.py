import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from steps.core.models import load_model
from steps.methods.params import Attached
from steps.methods.params.subspace import Subspace
from tests.steps.methods.params.by_hand import INPUT_IDS, network_of_one, steps_of
from tests.tiny_models import tiny_model
from tests.training import ends_like_one_never_stopped, section

WEIGHT = [[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0], [1.0, 0.0, 2.0]]


def parts(attached: Attached) -> dict[str, Any]:
    """The layers' parts, by their names."""
    found = {name: module for name, module in attached.network.named_modules() if hasattr(module, "u_high")}
    return {name.split(".parametrizations")[0]: module for name, module in found.items()}


def largest_deviation(attached: Attached) -> float:
    """How far trained and kept directions are from a right angle at worst, in degrees."""
    worst = 0.0
    for part in parts(attached).values():
        for kept, trained in ((part.u_high, part.u.detach()), (part.v_high.T, part.v.detach().T)):
            basis, _ = np.linalg.qr(trained.double().numpy())
            cosine = np.linalg.svd(kept.double().numpy().T @ basis, compute_uv=False).max()
            worst = max(worst, math.degrees(math.asin(min(1.0, cosine))))
    return worst


def split_of_one(share: float) -> tuple[Subspace, Attached, Any]:
    subspace = Subspace(preserved_share=share)
    attached = subspace.attach(network_of_one(WEIGHT), 0, {})
    return subspace, attached, parts(attached)["layer"]


@pytest.mark.parametrize(("share", "kept"), [(0.0, 0), (0.3, 0), (0.34, 1), (0.5, 1), (0.7, 2), (1.0, 2)])
def test_the_kept_share_is_rounded_down_and_one_direction_is_always_trained(share: float, kept: int) -> None:
    part = split_of_one(share)[2]
    shapes = {name: tuple(getattr(part, name).shape) for name in ("u_high", "v_high", "u", "s", "v")}
    trained = 3 - kept
    assert shapes == {
        "u_high": (4, kept),
        "v_high": (kept, 3),
        "u": (4, trained),
        "s": (trained,),
        "v": (trained, 3),
    }


def test_the_largest_directions_are_kept() -> None:
    part = split_of_one(0.34)[2]
    u, s, v = np.linalg.svd(np.array(WEIGHT))
    assert np.allclose(part.s.detach(), s[1:], atol=1e-6)
    assert abs(part.u_high[:, 0].numpy() @ u[:, 0]) == pytest.approx(1, abs=1e-6)
    assert abs(part.v_high[0].numpy() @ v[0]) == pytest.approx(1, abs=1e-6)


def test_the_projections_are_those_of_the_source() -> None:
    subspace, attached, part = split_of_one(0.7)
    draw = np.random.default_rng(0)
    u_high, v_high = part.u_high.double().numpy(), part.v_high.double().numpy()
    given = {name: draw.normal(size=getattr(part, name).shape) for name in ("u", "v")}
    wanted = {
        "u": given["u"] - u_high @ (u_high.T @ given["u"]),
        "v": given["v"] - (given["v"] @ v_high.T) @ v_high,
    }
    for name in ("u", "v"):
        getattr(part, name).grad = torch.tensor(given[name], dtype=torch.float32)
    subspace.gradients(attached, 1)
    assert all(np.allclose(getattr(part, name).grad, wanted[name], atol=1e-6) for name in ("u", "v"))
    for name in ("u", "v"):
        getattr(part, name).data = torch.tensor(given[name], dtype=torch.float32)
    subspace.moved(attached, 1)
    assert all(np.allclose(getattr(part, name).detach(), wanted[name], atol=1e-6) for name in ("u", "v"))


def test_before_a_step_the_sum_of_the_parts_is_the_parents_weight(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "a")
    attached = Subspace(preserved_share=0.5).attach(load_model(parent), 0, {})
    whole = load_file(parent / "model.safetensors")
    for name, part in parts(attached).items():
        weight = whole[f"{name}.weight"]
        s = np.linalg.svd(weight.numpy(), compute_uv=False)
        high = (part.u_high * torch.tensor(s[: part.u_high.shape[1]])) @ part.v_high
        assert torch.allclose(high + (part.u * part.s) @ part.v, weight, atol=1e-5)
    with torch.no_grad():
        expected = load_model(parent)(input_ids=INPUT_IDS).logits
        assert torch.allclose(attached.network(input_ids=INPUT_IDS).logits, expected, atol=1e-5)


def test_without_a_step_the_released_weights_are_the_parents_closely(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "a")
    subspace = Subspace()
    network = subspace.finish(subspace.attach(load_model(parent), 0, {}), tmp_path / "adapter")
    state, whole = network.state_dict(), load_file(parent / "model.safetensors")
    assert set(state) - {"lm_head.weight"} == set(whole) - {"lm_head.weight"}
    assert all(torch.allclose(state[name], value, atol=1e-6, rtol=0) for name, value in whole.items())


def test_after_a_hundred_steps_of_adamw_the_angles_are_within_one_degree(tmp_path: Path) -> None:
    subspace = Subspace(preserved_share=0.5)
    attached = subspace.attach(load_model(tiny_model(tmp_path / "a")), 0, {})
    steps_of(subspace, attached, 100, weight_decay=0.1)
    assert largest_deviation(attached) < 0.01  # the acceptance is 1.0


def test_projected_gradients_alone_let_the_optimizer_leak(tmp_path: Path) -> None:
    class OnlyGradients(Subspace):
        def moved(self, attached: Attached, step: int) -> None: ...

    leaking = OnlyGradients(preserved_share=0.5)
    attached = leaking.attach(load_model(tiny_model(tmp_path / "a")), 0, {})
    steps_of(leaking, attached, 100, weight_decay=0.1)
    assert largest_deviation(attached) > 1.0


def test_what_a_kept_direction_does_is_what_it_did(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "a")
    subspace = Subspace(preserved_share=0.5)
    attached = subspace.attach(load_model(parent), 0, {})
    steps_of(subspace, attached, 10)
    kept = {name: (part.u_high, part.v_high) for name, part in parts(attached).items()}
    state, before = subspace.finish(attached, tmp_path / "x").state_dict(), load_file(parent / "model.safetensors")
    for name, (u_high, v_high) in kept.items():
        change = state[f"{name}.weight"] - before[f"{name}.weight"]
        assert change.abs().max() > 1e-3
        assert torch.allclose(u_high.T @ change, torch.zeros(()), atol=1e-5)
        assert torch.allclose(change @ v_high.T, torch.zeros(()), atol=1e-5)


def test_all_else_is_trained_or_frozen_bit_for_bit(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "a")
    before = load_file(parent / "model.safetensors")
    for others in ("trained", "frozen"):
        subspace = Subspace(target_modules=("q_proj",), others=others)
        attached = subspace.attach(load_model(parent), 0, {})
        steps_of(subspace, attached, 2)
        state = subspace.finish(attached, tmp_path / "x").state_dict()
        same = {name for name, value in before.items() if torch.equal(state[name], value)}
        rest = {name for name in before if "q_proj" not in name}
        assert same == (rest if others == "frozen" else set())


def test_it_trains_and_resumes_exactly(tmp_path: Path) -> None:
    settings = section(
        params={"method": "subspace", "preserved_share": 0.5}, optimizer={"method": "adamw", "weight_decay": 0.1}
    )
    ends_like_one_never_stopped(tmp_path, settings)


def test_a_target_that_names_no_layer_is_answered_with_the_layers(tmp_path: Path) -> None:
    network = load_model(tiny_model(tmp_path / "a"))
    with pytest.raises(
        ValueError, match=r"subspace: target_modules 'proj' fits no linear layer; there are: .*'q_proj'"
    ):
        Subspace(target_modules=("q_proj", "proj")).attach(network, 0, {})


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_is_between_none_and_all(share: float) -> None:
    with pytest.raises(ValueError, match="preserved_share"):
        Subspace(preserved_share=share)
