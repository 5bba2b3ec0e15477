import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from steps.core.models import load_model
from steps.methods.params.lora import Lora
from tests.steps.methods.params.learning import learn, learned, logits_BTV, nats
from tests.tiny_models import rows_of, tiny_model
from tests.training import ends_like_one_never_stopped, section

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


INITS = ["kaiming", "gaussian", "orthogonal", "mica", "olora", "pissa", "pissa_niter_2"]
VARIANTS: list[dict[str, Any]] = [
    *({"init": init} for init in INITS),
    *({"init": init, "dora": True} for init in INITS if init != "mica"),
    *({"init": init, "rank_stabilised": True} for init in INITS),
    {"init": "pissa", "rank_stabilised": True, "dora": True},
]


def ids(knobs: dict[str, Any]) -> str:
    return ", ".join(str(key if value is True else value) for key, value in knobs.items())


@pytest.mark.parametrize("knobs", VARIANTS, ids=ids)
def test_the_kept_adapter_on_the_parents_own_weights_is_the_trained_model(tmp_path: Path, knobs: Any) -> None:
    lora = Lora(rank=4, alpha=8.0, **knobs)
    parent = tiny_model(tmp_path / "parent")
    attached = learned(lora, parent)
    trained, loss = logits_BTV(attached.network), nats(attached.network)
    merged = lora.finish(attached, tmp_path / "adapter")
    assert loss < nats(load_model(parent)) - 0.01
    assert torch.allclose(logits_BTV(merged), trained, atol=1e-4, rtol=0)
    torch.manual_seed(12345)  # what is drawn on reload must not matter
    reloaded = PeftModel.from_pretrained(load_model(parent), tmp_path / "adapter").eval()
    assert torch.allclose(logits_BTV(reloaded), trained, atol=1e-4, rtol=0)
    assert nats(reloaded) == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize("knobs", VARIANTS, ids=ids)
def test_every_variant_begins_at_the_parent(tmp_path: Path, knobs: Any) -> None:
    parent = tiny_model(tmp_path / "a")
    begun = logits_BTV(Lora(rank=4, **knobs).attach(load_model(parent), 0, {}).network)
    expected = logits_BTV(load_model(parent))
    assert torch.allclose(begun, expected, atol=1e-5)
    if knobs.get("init") in ("kaiming", "gaussian", "mica") and "dora" not in knobs:
        assert torch.equal(begun, expected)


def gpt2() -> Any:
    """A network whose linear layers hold their weights transposed."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=260, n_embd=32, n_layer=1, n_head=2, n_positions=64)).eval()


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning")
@pytest.mark.parametrize("knobs", [{}, {"init": "pissa", "dora": True}, {"init": "mica"}], ids=ids)
def test_transposed_weights_are_adapted_as_others_are(tmp_path: Path, knobs: dict[str, Any]) -> None:
    lora = Lora(rank=4, **knobs)
    attached = learn(lora, lora.attach(gpt2(), 1, {}))
    trained = logits_BTV(attached.network)
    merged = lora.finish(attached, tmp_path)
    assert not torch.allclose(trained, logits_BTV(gpt2()), atol=1e-2)
    assert torch.allclose(logits_BTV(merged), trained, atol=1e-4, rtol=0)
    assert torch.allclose(logits_BTV(PeftModel.from_pretrained(gpt2(), tmp_path)), trained, atol=1e-4, rtol=0)


def test_olora_does_not_know_transposed_weights() -> None:
    with pytest.raises(ValueError, match=r"init 'olora' wants weights .*, this model holds them transposed"):
        Lora(init="olora").attach(gpt2(), 0, {})


def test_rank_stabilised_scales_by_the_root_of_the_rank(tmp_path: Path) -> None:
    scales = []
    for stabilised in (False, True):
        lora = Lora(rank=4, alpha=6.0, target_modules=("q_proj",), rank_stabilised=stabilised)
        attached = learned(lora, tmp_path / "parent", num_steps=1)
        before = load_file(tmp_path / "parent/model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
        after = lora.finish(attached, tmp_path / "adapter").state_dict()["model.layers.0.self_attn.q_proj.weight"]
        kept = load_file(tmp_path / "adapter/adapter_model.safetensors")
        a, b = (kept[f"base_model.model.model.layers.0.self_attn.q_proj.lora_{x}.weight"] for x in "AB")
        scales.append(float((after - before).norm() / (b @ a).norm()))
    assert scales == [pytest.approx(6 / 4, rel=1e-3), pytest.approx(6 / 2, rel=1e-3)]


def test_pissa_begins_at_the_leading_singular_vectors(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "a")
    attached = Lora(rank=2, alpha=2.0, target_modules=("q_proj",), init="pissa").attach(load_model(parent), 0, {})
    w = load_file(parent / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
    u, s, v = torch.linalg.svd(w)
    path = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.default.weight"
    product = attached.trained[path.format("B")] @ attached.trained[path.format("A")]
    assert torch.allclose(product, (u[:, :2] * s[:2]) @ v[:2], atol=1e-5)


def test_mica_trains_a_alone(tmp_path: Path) -> None:
    lora = Lora(rank=2, init="mica")
    attached = lora.attach(load_model(tiny_model(tmp_path / "a")), 0, {})
    assert len(attached.trained) == 2 * 7
    assert all("lora_A" in name and not tensor.any() for name, tensor in attached.trained.items())


def test_dora_without_its_norms_moving_keeps_the_length_of_every_row(tmp_path: Path) -> None:
    lora = Lora(rank=2, target_modules=("q_proj",), dora=True)
    attached = lora.attach(load_model(tiny_model(tmp_path / "a")), 0, {})
    for name, tensor in attached.trained.items():
        if "magnitude" in name:
            tensor.requires_grad_(False)
        elif "lora_B" in name:
            torch.nn.init.normal_(tensor, std=0.1)
    name = "model.layers.0.self_attn.q_proj.weight"
    before = load_file(tmp_path / "a/model.safetensors")[name]
    after = lora.finish(attached, tmp_path / "adapter").state_dict()[name]
    assert not torch.allclose(after, before, atol=1e-3)
    assert torch.allclose(after.norm(dim=1), before.norm(dim=1), rtol=1e-5)


@pytest.mark.parametrize("init", ["corda", "eva", "lora_ga", "loftq", "false"])
def test_an_init_that_cannot_come_back_is_refused_with_the_reason(init: str) -> None:
    with pytest.raises(ValueError, match=f"init '{init}' is refused: .*; there are: kaiming, gaussian"):
        Lora(init=init)


def test_knobs_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="no init 'xavier'; there are: kaiming"):
        Lora(init="xavier")
    with pytest.raises(ValueError, match="wants an even rank, found 3"):
        Lora(init="orthogonal", rank=3)
    with pytest.raises(ValueError, match="two variants of one layer"):
        Lora(init="mica", dora=True)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_more_rank_than_a_layer_has_is_refused(tmp_path: Path, init: str) -> None:
    network = load_model(tiny_model(tmp_path / "a"))
    with pytest.raises(ValueError, match=r"at rank 100: .* has 64 dimensions; lower rank"):
        Lora(rank=100, init=init, target_modules=("q_proj",)).attach(network, 0, {})


def test_a_tied_weight_is_refused(tmp_path: Path) -> None:
    network = load_model(tiny_model(tmp_path / "a"))
    with pytest.raises(ValueError, match="target 'lm_head' is tied"):
        Lora(target_modules=("q_proj", "lm_head")).attach(network, 0, {})


@pytest.mark.parametrize("knobs", [{}, {"init": "pissa_niter_2", "dora": True}], ids=["plain", "pissa_niter_2, dora"])
def test_it_trains_and_resumes_exactly(tmp_path: Path, knobs: dict[str, Any]) -> None:
    whole = ends_like_one_never_stopped(tmp_path, section(params={"method": "lora", "rank": 4, **knobs}))
    losses = [row["train/loss_nats_per_token"] for row in rows_of(tmp_path / "straight" / whole.history)[1:]]
    assert sum(losses[-4:]) < sum(losses[:4])
