from pathlib import Path
from typing import Any

import pytest
import torch

from steps.methods.objective.anchor import Anchor
from tests.steps.methods.objective.views import begun, changes_nothing
from tests.tiny_models import parent_model, rows_of, tiny_model, tiny_workspace
from tests.training import ends_like_one_never_stopped, run, section, weights

MEMORY = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[0.0]])}
TRAINED = {"a": torch.tensor([2.0, 2.0]), "b": torch.tensor([[3.0]]), "c": torch.tensor([7.0])}


def penalty(**knobs: Any) -> float:
    found = Anchor(**knobs).penalty(TRAINED, MEMORY)
    assert found is not None
    return float(found)


def test_half_the_weighted_sum_of_squares_or_their_mean() -> None:
    assert penalty(weight=1.0) == pytest.approx((1 + 0 + 9) / 2)
    assert penalty(weight=4.0, over="mean") == pytest.approx(4 * 10 / 2 / 3)


def test_its_gradient_is_the_weighted_distance() -> None:
    theta = torch.tensor([2.0, 5.0], requires_grad=True)
    found = Anchor(weight=3.0).penalty({"a": theta}, {"a": MEMORY["a"]})
    assert found is not None
    found.backward()
    assert theta.grad is not None
    assert theta.grad.tolist() == [3.0, 9.0]


def test_attention_only_means_its_projections_and_no_norm_beside_it(tmp_path: Path) -> None:
    learner, _, _ = begun(tmp_path, [{"method": "anchor", "parameters": "attention"}])
    found = set(learner.memory["anchor"])
    assert found == {f"model.layers.{n}.self_attn.{part}_proj.weight" for n in (0, 1) for part in "qkvo"}
    anchors = Anchor(parameters="attention")._anchors
    assert anchors("transformer.h.0.attn.c_attn.bias")
    assert not anchors("model.layers.0.post_attention_layernorm.weight")


def test_patterns_of_names(tmp_path: Path) -> None:
    learner, _, _ = begun(tmp_path, [{"method": "anchor", "parameters": ["layers\\.1\\.mlp", "embed_tokens"]}])
    found = learner.memory["anchor"]
    assert sorted(name.rsplit(".", 2)[-2] for name in found) == ["down_proj", "embed_tokens", "gate_proj", "up_proj"]
    with pytest.raises(ValueError, match=r"parameters \('q_project',\) fit none of the \d+ that are trained, such as"):
        begun(tmp_path, [{"method": "anchor", "parameters": ["q_project"]}])
    with pytest.raises(ValueError, match="is no regular expression"):
        Anchor(parameters=("(",))


def test_it_pulls_to_the_parent_wherever_training_starts(tmp_path: Path) -> None:
    start = tiny_model(tmp_path / "plateau", seed=1)
    learner, _, _ = begun(tmp_path, [{"method": "anchor", "weight": 1.0}], start=start)
    parent = learner.memory["anchor"]
    away = sum(float((tensor.detach() - parent[name]).square().sum()) for name, tensor in learner.trained.items())
    assert away > 1.0
    assert float(learner.penalties()["anchor"].detach()) == pytest.approx(away / 2, rel=1e-5)


def test_it_is_exactly_0_at_the_parent_and_a_heavy_one_holds_back(tmp_path: Path) -> None:
    moved = []
    for name, weight in (("free", 0.0), ("held", 10.0)):
        workspace = tiny_workspace(tmp_path / name)
        made = run(workspace, section(objective=["next-token", {"method": "anchor", "weight": weight}]))
        assert rows_of(workspace.at(made.history))[1]["train/objective_anchor"] == 0.0
        parent = weights(workspace, made.model_copy(update={"model": parent_model(workspace)}))
        moved.append(sum(float((w - parent[key]).square().sum()) for key, w in weights(workspace, made).items()))
    assert moved[1] < 0.5 * moved[0]


def test_at_weight_0_it_changes_nothing_at_all(tmp_path: Path) -> None:
    assert changes_nothing(tmp_path, {"method": "anchor", "weight": 0.0})


def test_it_resumes_exactly_and_trains(tmp_path: Path) -> None:
    ends_like_one_never_stopped(tmp_path, section(objective=["next-token", {"method": "anchor", "weight": 0.1}]))


def test_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"anchor pulls parameters back .* train.params lora trains 28 tensors that the"
    ):
        begun(tmp_path, "anchor", params="lora")
