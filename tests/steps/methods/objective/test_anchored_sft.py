from pathlib import Path

import numpy as np
import pytest
import torch

from steps.core.forward import Outputs
from steps.methods.objective.anchored_sft import AnchoredSft
from steps.methods.objective.next_token import NextToken
from tests.steps.methods.objective.views import begun, outputs, seen, value
from tests.tiny_models import tiny_workspace
from tests.training import ends_like_one_never_stopped, run, section, weights

NEW, OLD = [[1.0, 0.0, -1.0], [0.5, 0.2, 0.0]], [[0.0, 2.0, 0.0], [0.5, 0.2, 0.0]]
SAID, WAS = outputs(NEW, None), outputs(OLD, None)
VIEW = seen(["new/alpha"], [[1, 2]], SAID, old=WAS, teacher=("parent", "all"))


def softmax(x_NV: list[list[float]]) -> np.ndarray:
    found: np.ndarray = np.exp(x_NV) / np.exp(x_NV).sum(axis=1, keepdims=True)
    return found


def test_the_loss_of_a_token_counts_by_its_probability_and_the_kl_beside() -> None:
    p_NV, g_NV = softmax(NEW), softmax(OLD)
    p_N = p_NV[[0, 1], [1, 2]]
    fitted = -(p_N * np.log(p_N)).mean()
    to, back = (p_NV * np.log(p_NV / g_NV)).sum() / 2, (g_NV * np.log(g_NV / p_NV)).sum() / 2
    assert value(AnchoredSft(weight=0.0), VIEW) == pytest.approx(fitted, rel=1e-6)
    assert value(AnchoredSft(), VIEW) == pytest.approx(fitted + 0.05 * to, rel=1e-6)
    assert value(AnchoredSft(weight=2.0, direction="from-parent"), VIEW) == pytest.approx(fitted + 2 * back, rel=1e-6)


def test_no_gradient_goes_through_the_weights() -> None:
    logits = torch.tensor(NEW, requires_grad=True)
    found = AnchoredSft(weight=0.0).loss(seen(["new/alpha"], [[1, 2]], Outputs(logits, None)), {})
    assert found is not None
    found.backward()
    assert logits.grad is not None
    p_NV = softmax(NEW)
    p_N = p_NV[[0, 1], [1, 2]]
    assert np.allclose(logits.grad, p_N[:, None] * (p_NV - np.eye(3)[[1, 2]]) / 2, atol=1e-6)


def test_micro_batches_sum_to_the_step() -> None:
    half = seen(["new/alpha"], [[1, 2]], SAID, old=WAS, teacher=("parent", "all"), num_losses=4)
    assert value(AnchoredSft(), half) == pytest.approx(value(AnchoredSft(), VIEW) / 2, rel=1e-6)


def test_without_power_and_kl_it_is_next_token_exactly(tmp_path: Path) -> None:
    assert value(AnchoredSft(power=0.0, weight=0.0), VIEW) == value(NextToken(), VIEW)
    ends = []
    for name, objective in (("a", "next-token"), ("b", {"method": "anchored-sft", "power": 0.0, "weight": 0.0})):
        workspace = tiny_workspace(tmp_path / name)
        ends.append(weights(workspace, run(workspace, section(objective=objective))))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_it_resumes_exactly_and_trains(tmp_path: Path) -> None:
    ends_like_one_never_stopped(tmp_path, section(objective="anchored-sft"))


def test_the_parent_is_asked_only_for_the_kl(tmp_path: Path) -> None:
    assert AnchoredSft().teachers == ("parent",)
    assert AnchoredSft(weight=0.0).teachers == ()
    begun(tmp_path, "anchored-sft", sources=("new/alpha", "new/beta"))  # it needs no replay


def test_it_stands_for_next_token_and_not_beside_it() -> None:
    with pytest.raises(ValueError, match="next-token and anchored-sft are each the loss of the text"):
        section(objective=["next-token", "anchored-sft"])
    with pytest.raises(ValueError, match="weighted and anchored-sft are each the loss of the text"):
        section(objective=["weighted", "threshold-margin", "anchored-sft"])
