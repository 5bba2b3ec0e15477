import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from steps.core.models import load_model
from steps.methods.params.lora import Lora
from tests.tiny_models import tiny_model

INPUT_IDS = torch.arange(4, 20)[None]


def logits(network: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = network(input_ids=INPUT_IDS).logits
    return found


def test_before_the_first_step_it_computes_what_the_parent_computes_exactly(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "a")
    assert torch.equal(logits(Lora().attach(load_model(parent), 0, {}).network), logits(load_model(parent)))


def test_without_a_step_the_merged_weights_are_the_parents_exactly(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "a")
    state = Lora().finish(Lora().attach(load_model(parent), 0, {}), tmp_path / "adapter").state_dict()
    assert all(torch.equal(state[name], value) for name, value in load_file(parent / "model.safetensors").items())


def test_the_merged_weight_is_w_plus_the_scaled_product(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "a")
    lora = Lora(rank=2, alpha=6.0, target_modules=("q_proj",))
    attached = lora.attach(load_model(parent), 0, {})
    for name, parameter in attached.trained.items():
        if "lora_B" in name:
            torch.nn.init.constant_(parameter, 0.5)
    path = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    merged = lora.finish(attached, tmp_path / "adapter").state_dict()["model.layers.0.self_attn.q_proj.weight"]
    kept = load_file(tmp_path / "adapter/adapter_model.safetensors")
    w = load_file(parent / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
    assert torch.allclose(merged, w + 3.0 * kept[path.format("B")] @ kept[path.format("A")], atol=1e-6)


def test_only_the_change_is_trained_and_the_seed_draws_it(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "a")
    first, again, other = (Lora(rank=2).attach(load_model(parent), seed, {}).trained for seed in (1, 1, 2))
    assert all("lora_" in name for name in first)
    assert len(first) == 2 * 2 * 7  # A and B, two layers, seven linear maps each
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_attaching_draws_from_its_own_seed_only(tmp_path: Path) -> None:
    network = load_model(tiny_model(tmp_path / "a"))
    before = torch.get_rng_state()
    Lora().attach(network, 0, {})
    assert torch.equal(torch.get_rng_state(), before)


def test_the_adapter_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "a")
    Lora().finish(Lora().attach(load_model(parent), 0, {}), tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"], config["peft_type"]) == (None, 16, "LORA")
    assert str(tmp_path) not in (tmp_path / "adapter/adapter_config.json").read_text()


def test_a_target_that_names_no_layer_is_answered_with_the_layers(tmp_path: Path) -> None:
    network = load_model(tiny_model(tmp_path / "a"))
    with pytest.raises(ValueError, match=r"target_modules \['query'\] fit no layer; there are: .*'q_proj'"):
        Lora(target_modules=("query",)).attach(network, 0, {})
