"""What every `params` method releases is what it trained, also when others load it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from steps.core.method import load_method, method_names
from steps.core.models import load_model, save_model
from steps.methods.params import Params
from tests.steps.methods.params.learning import learned, logits_BTV, nats
from tests.tiny_models import tiny_model

KNOBS: dict[str, list[dict[str, Any]]] = {
    "layers": [{"train": ["*.mlp"]}, {"forgetting_prone": 0.5, "window_steps": 1}],
    "lora": [{}, {"init": "pissa", "dora": True, "rank_stabilised": True}],
    "orthogonal-lora": [{"size_weight": 0.01}],
    "peft": [{"tuner": "IA3"}, {"tuner": "SHIRA"}],
}
CASES = [(name, knobs) for name in method_names("params") for knobs in KNOBS.get(name, [{}])]


def plain(folder: Path) -> Any:
    """A model as anyone loads it."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.mark.parametrize(("name", "knobs"), CASES, ids=lambda value: value if isinstance(value, str) else str(value))
def test_the_model_and_the_adapter_load_elsewhere_with_the_same_loss(
    tmp_path: Path, name: str, knobs: dict[str, Any]
) -> None:
    params = load_method("params", name).model_validate(knobs)
    assert isinstance(params, Params)
    parent = tiny_model(tmp_path / "parent")
    attached = learned(params, parent)
    trained, loss = logits_BTV(attached.network), nats(attached.network)
    assert loss < nats(load_model(parent)) - 1e-3
    save_model(params.finish(attached, tmp_path / "adapter"), tmp_path / "model", parent)
    assert torch.allclose(logits_BTV(plain(tmp_path / "model")), trained, atol=1e-4, rtol=0)
    assert nats(plain(tmp_path / "model")) == pytest.approx(loss, abs=1e-5)
    assert plain(tmp_path / "model").state_dict().keys() == plain(parent).state_dict().keys()
    if (tmp_path / "adapter/adapter_config.json").exists():
        reloaded = PeftModel.from_pretrained(plain(parent), tmp_path / "adapter").eval()
        assert torch.allclose(logits_BTV(reloaded), trained, atol=1e-4, rtol=0)
        assert nats(reloaded) == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize(("name", "knobs"), CASES, ids=lambda value: value if isinstance(value, str) else str(value))
def test_a_method_comes_back_from_a_recipe_as_it_was_written(name: str, knobs: dict[str, Any]) -> None:
    written = load_method("params", name).model_validate(knobs).model_dump(mode="json")
    assert written.pop("method") == name
    assert load_method("params", name).model_validate(written).model_dump(mode="json") == {"method": name, **written}
