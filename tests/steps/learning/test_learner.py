import json
from pathlib import Path
from typing import Any

import pytest
import torch

from steps.core.blocks import MicroBatch
from steps.core.forward import AsGiven, outputs_at
from steps.core.models import load_model
from steps.core.training import accelerator_on
from steps.learning.learner import Learner
from tests.tiny_models import STATE, tiny_model, tiny_workspace
from tests.training import section


def learner(root: Path, **knobs: Any) -> Learner:
    config, parent = section(**knobs), tiny_model(root / "parent")
    methods = (config.params, config.objective, config.optimizer, config.learning_rate)
    workspace = tiny_workspace(root)
    return Learner(workspace, accelerator_on("cpu", "float32"), *methods, start=parent, parent=parent, state=STATE)


def test_an_objective_is_named_once() -> None:
    with pytest.raises(ValueError, match="wanted each method once, found next-token, next-token; leave one out"):
        section(objective=["next-token", "next-token"])


FREE = [{}, {"dora": True}, {"init": "gaussian"}, {"init": "mica"}, {"init": "orthogonal"}]


def asked(root: Path, params: dict[str, Any], start: str = "parent") -> tuple[Any, Any, bool]:
    """What the teacher says after training moved something, what the loaded parent says, and whether it was loaded."""
    config = section(params=params, objective=["next-token", "logit-distill"])
    parent = tiny_model(root / "parent")
    methods = (config.params, config.objective, config.optimizer, config.learning_rate)
    accelerator = accelerator_on("cpu", "float32")
    begun_at = parent if start == "parent" else tiny_model(root / start, seed=1)
    learner = Learner(tiny_workspace(root), accelerator, *methods, start=begun_at, parent=parent, state=STATE)
    with torch.no_grad():
        for tensor in learner.trained.values():
            tensor.add_(0.1)
    ids_BT = torch.arange(4, 36).reshape(2, 16)
    batch = MicroBatch(ids_BT, torch.ones_like(ids_BT, dtype=torch.bool), None, None, None, ["replay/general"] * 2)
    learns = {name: parameter.requires_grad for name, parameter in learner.network.named_parameters()}
    teacher = learner.teachers["parent"]
    found = teacher.outputs(batch).logits
    assert learns == {name: parameter.requires_grad for name, parameter in learner.network.named_parameters()}
    with torch.no_grad():
        assert not torch.equal(outputs_at(learner.network, batch).logits, found)
        return found, outputs_at(load_model(parent), batch).logits, not isinstance(teacher.network, AsGiven)


@pytest.mark.parametrize("knobs", FREE)
def test_the_parent_of_an_adapter_is_the_network_without_it_to_the_bit(tmp_path: Path, knobs: dict[str, Any]) -> None:
    found, wanted, loaded = asked(tmp_path, {"method": "lora", "rank": 4} | knobs)
    assert torch.equal(found, wanted)
    assert not loaded


@pytest.mark.parametrize(
    ("params", "start"),
    [
        ({"method": "full"}, "parent"),
        ({"method": "lora", "rank": 4, "init": "pissa"}, "parent"),
        ({"method": "lora"}, "plateau"),
    ],
)
def test_where_the_network_does_not_hold_the_parent_it_is_loaded(tmp_path: Path, params: Any, start: str) -> None:
    found, wanted, loaded = asked(tmp_path, params, start)
    assert torch.equal(found, wanted)
    assert loaded


@pytest.mark.parametrize("params", ["full", "lora", "layers", "subspace"])
def test_quantised_weights_are_refused_before_they_are_loaded(tmp_path: Path, params: str) -> None:
    parent = tiny_model(tmp_path / "parent")
    config = json.loads((parent / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (parent / "config.json").write_text(json.dumps(config), encoding="utf-8")
    settings = section(params=params)
    methods = (settings.params, settings.objective, settings.optimizer, settings.learning_rate)
    accelerator = accelerator_on("cpu", "float32")
    with pytest.raises(ValueError, match=r"its weights are quantised \(gptq\), .* before it was quantised"):
        Learner(tiny_workspace(tmp_path), accelerator, *methods, start=parent, parent=parent, state=STATE)
