from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steps.core.forward import Outputs, StepFacts
from steps.core.models import load_model
from steps.methods.objective.logit_distill import LogitDistill
from tests.steps.methods.objective.views import begun, changes_nothing, outputs, seen, value
from tests.tiny_models import rows_of, tiny_workspace
from tests.training import ends_like_one_never_stopped, run, section

NEW, OLD = [[1.0, 0.0, -1.0], [0.5, 0.2, 0.0]], [[0.0, 2.0, 0.0], [0.5, 0.2, 0.0]]


def softmax(x_NV: Any, temperature: float) -> np.ndarray:
    e_NV = np.exp(np.array(x_NV) / temperature)
    found: np.ndarray = e_NV / e_NV.sum(axis=1, keepdims=True)
    return found


def divergence(temperature: float) -> float:
    p, q = softmax(OLD, temperature), softmax(NEW, temperature)
    return float((p * np.log(p / q)).sum())


def test_the_mean_kl_of_softened_probabilities_on_replayed_tokens() -> None:
    said = outputs([[9.0, 0.0, 0.0]] * 2 + NEW, None)
    view = seen(["new/alpha", "replay/general"], [[1, 1], [1, 1]], said, old=outputs(OLD, None))
    assert value(LogitDistill(weight=1.0, temperature=1.0), view) == pytest.approx(divergence(1.0) / 2, rel=1e-6)
    assert value(LogitDistill(), view) == pytest.approx(0.5 * divergence(2.0) / 2, rel=1e-6)  # LwF: no factor T^2
    squared = LogitDistill(weight=1.0, squared_temperature=True)
    assert value(squared, view) == pytest.approx(4 * divergence(2.0) / 2, rel=1e-6)


def test_its_gradient_is_that_of_the_cross_entropy_with_the_old_probabilities() -> None:
    logits = torch.tensor(NEW, requires_grad=True)
    view = seen(["replay/general"], [[1, 1]], Outputs(logits, None), old=outputs(OLD, None))
    found = LogitDistill(weight=1.0).loss(view, {})
    assert found is not None
    found.backward()
    assert logits.grad is not None
    wanted = (softmax(NEW, 2.0) - softmax(OLD, 2.0)) / 2.0 / 2  # of -sum p log q, over T, over tokens
    assert np.allclose(logits.grad, wanted, atol=1e-6)


def test_a_micro_batch_without_such_rows_adds_nothing() -> None:
    assert LogitDistill().loss(seen(["new/alpha"], [[1]], outputs([[0.0, 0.0]], None)), {}) is None


@pytest.mark.parametrize("knobs", [{}, {"top_k": 5}, {"top_k": 260}, {"rows": "all"}, {"rows": "new"}])
def test_it_is_0_at_the_parent_and_grows(tmp_path: Path, knobs: dict[str, Any]) -> None:
    workspace = tiny_workspace(tmp_path)
    objective = ["next-token", {"method": "logit-distill"} | knobs]
    made = run(workspace, section(objective=objective, schedule={"method": "constant"}), 4)
    found = [row["train/objective_logit-distill"] for row in rows_of(workspace.at(made.history))[1:]]
    assert found[0] == pytest.approx(0.0, abs=1e-7)
    assert all(value > 1e-6 for value in found[1:])


def test_at_weight_0_it_changes_nothing_at_all(tmp_path: Path) -> None:
    assert changes_nothing(tmp_path, {"method": "logit-distill", "weight": 0.0})
    assert LogitDistill(weight=0.0).teachers == ()


@pytest.mark.parametrize("knobs", [{}, {"top_k": 4}])
def test_it_resumes_exactly_and_trains(tmp_path: Path, knobs: dict[str, Any]) -> None:
    ends_like_one_never_stopped(tmp_path, section(objective=["next-token", {"method": "logit-distill"} | knobs]))


def losses(root: Path, knobs: dict[str, Any], size: int = 1) -> list[float]:
    """The term at another model than the parent, for every micro-batch of two steps."""
    learner, blocks, _ = begun(root, [{"method": "logit-distill", "temperature": 1.0} | knobs])
    with torch.no_grad():
        for name, tensor in sorted(learner.trained.items()):
            tensor.add_(0.01 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(len(name))))
    found = []
    for step in (1, 2):
        facts = StepFacts(step, 2, blocks.num_losses(step), blocks.num_replayed(step))
        terms = [learner.terms(learner.see(batch, facts)) for batch in blocks.micro_batches(step, size)]
        found.append(sum(float(term["logit-distill"].detach()) for term in terms if term))
    return found


def test_the_whole_vocabulary_kept_is_the_exact_divergence(tmp_path: Path) -> None:
    exact, kept = losses(tmp_path, {}), losses(tmp_path, {"top_k": 260})
    assert min(exact) > 1e-4
    assert kept == pytest.approx(exact, rel=1e-4)


def test_fewer_kept_is_never_more_and_nearer_the_more_are_kept(tmp_path: Path) -> None:
    exact = losses(tmp_path, {})
    few, more = losses(tmp_path, {"top_k": 4}), losses(tmp_path, {"top_k": 100})
    assert all(a < b < c for a, b, c in zip(few, more, exact, strict=True))


@pytest.mark.parametrize("knobs", [{}, {"top_k": 7}])
def test_micro_batches_do_not_matter(tmp_path: Path, knobs: dict[str, Any]) -> None:
    assert losses(tmp_path, knobs, 1) == pytest.approx(losses(tmp_path, knobs, 2), rel=1e-4)


def test_the_observed_token_is_kept_and_the_rest_is_told(tmp_path: Path) -> None:
    learner, blocks, told = begun(tmp_path, [{"method": "logit-distill", "temperature": 1.0, "top_k": 1}])
    parent, memory = load_model(tmp_path / "parent"), learner.memory["logit-distill"]
    observed = torch.cat([batch.input_ids[0, 1:] for batch in blocks.replayed(1)])
    assert memory["ids"][:, 0].tolist() == observed.tolist()
    with torch.no_grad():
        logits = torch.cat([parent(input_ids=batch.input_ids).logits[0, :-1] for batch in blocks.replayed(1)])
    p_N = torch.softmax(logits.double(), dim=1)[torch.arange(len(observed)), observed]
    assert torch.allclose(memory["log_p"][:, 0].double().exp(), p_N, rtol=1e-5)
    assert told["train/logit-distill_rest_mass"] == pytest.approx(float((1 - p_N).mean()), rel=1e-5)


def test_with_kept_answers_nobody_is_asked_while_training(tmp_path: Path) -> None:
    learner, _, _ = begun(tmp_path, [{"method": "logit-distill", "top_k": 4}])
    assert "network" not in vars(learner.teachers["parent"])
    asked, _, _ = begun(tmp_path, ["next-token", {"method": "logit-distill", "top_k": 4}, "threshold-margin"])
    assert "network" in vars(asked.teachers["parent"])


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="top_k keeps what the parent says of replayed rows, found teacher slow"):
        LogitDistill(top_k=4, teacher="slow")
    with pytest.raises(ValueError, match="and rows all; leave out top_k"):
        LogitDistill(top_k=4, rows="all")
    with pytest.raises(ValueError, match=r"wanted top_k up to the vocabulary, 260, found 261; lower it"):
        begun(tmp_path, [{"method": "logit-distill", "top_k": 261}])
    with pytest.raises(ValueError, match="logit-distill needs replayed text"):
        begun(tmp_path, "logit-distill", sources=("new/alpha", "new/beta"))
