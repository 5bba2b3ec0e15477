import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MixtralConfig

from steps.core.artifacts import TrainingState
from steps.core.models import load_model
from steps.core.training_state import describe_state, file_of, read_kept, write_kept
from steps.core.workspace import Workspace
from steps.methods.params import Attached
from steps.methods.params.half import Half
from tests.steps.methods.params.by_hand import steps_of
from tests.tiny_models import STATE, tiny_model, tiny_workspace
from tests.training import ends_like_one_never_stopped, run, section, weights

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
NORM = ("input_layernorm", "post_attention_layernorm")
SETTINGS = section(params={"method": "half"})


def llama(num_layers: int) -> Any:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "vocab_size": 16}
    return AutoModelForCausalLM.from_config(LlamaConfig(**sizes, num_hidden_layers=num_layers))


def frozen(attached: Attached) -> set[str]:
    return {name for name, parameter in attached.network.named_parameters() if not parameter.requires_grad}


def frozen_of(attached: Attached, layer: int, kinds: tuple[str, ...]) -> int:
    return sum(f".{layer}." in name and any(kind in name for kind in kinds) for name in frozen(attached))


@pytest.mark.parametrize("seed", range(4))
def test_of_each_kind_the_published_number_is_frozen(seed: int) -> None:
    attached = Half().attach(llama(7), seed, {})
    assert [frozen_of(attached, layer, ATTENTION) for layer in range(7)] == [2] * 7
    assert sorted(frozen_of(attached, layer, FEED_FORWARD) for layer in range(7)) == [1, 1, 1, 1, 2, 2, 2]
    assert [frozen_of(attached, layer, NORM) for layer in range(7)] == [1] * 7
    assert all(".layers." in name for name in frozen(attached))  # embeddings, last norm and output layer are trained
    assert attached.trained.keys() == {name for name, _ in attached.network.named_parameters()} - frozen(attached)


def test_it_is_drawn_by_the_seed_and_anew_at_each_refresh() -> None:
    half = Half()
    first, again, other = (frozen(half.attach(llama(4), seed, {})) for seed in (20, 20, 21))
    assert first == again != other
    kept: dict[str, torch.Tensor] = {}
    draws = []
    for _ in range(3):
        attached = half.attach(llama(4), 20, kept)
        draws.append(frozen(attached))
        kept = half.keep(attached)
    assert draws[0] == first
    assert len({frozenset(draw) for draw in draws}) == 3
    assert kept["num_refreshes"] == 3


def test_over_many_refreshes_every_module_is_frozen_about_half_of_the_time() -> None:
    network = llama(2)
    counts: dict[str, int] = {}
    for number in range(60):
        for name in frozen(Half().attach(network, 20, {"num_refreshes": torch.tensor(number)})):
            counts[name] = counts.get(name, 0) + 1
    assert len(counts) == 2 * 9
    assert all(15 <= count <= 45 for count in counts.values())  # four standard deviations of a fair coin


def test_what_was_drawn_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        attached = Half().attach(llama(2), 0, {})
    named = caplog.messages[-1].split(": ")[1].split(", ")
    assert {f"{name}.weight" for name in named} == frozen(attached)


def test_without_a_step_it_is_the_parent_exactly(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "a")
    state = Half().finish(Half().attach(load_model(parent), 0, {}), tmp_path / "adapter").state_dict()
    assert all(torch.equal(state[name], value) for name, value in load_file(parent / "model.safetensors").items())
    assert not (tmp_path / "adapter").exists()


def test_what_is_frozen_keeps_its_bits_and_all_else_moves(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "a")
    attached = Half().attach(load_model(parent), 0, {})
    steps_of(Half(), attached, 3, weight_decay=0.1)
    before = load_file(parent / "model.safetensors")
    state = attached.network.state_dict()
    assert {name for name, value in before.items() if torch.equal(state[name], value)} == frozen(attached)


def test_the_next_refresh_freezes_others_and_carries_the_count_on(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    first = run(workspace, SETTINGS, 2)
    unmoved = [unmoved_in(workspace, first)]
    assert read_kept(workspace, first.state, "params", Half())["num_refreshes"] == 1
    kept = workspace.root / "kept"
    workspace.at(first.state.path).rename(kept)
    second = run(workspace, SETTINGS, 2, describe_state(workspace, kept, STATE))
    assert unmoved[0] != unmoved_in(workspace, second)
    assert read_kept(workspace, second.state, "params", Half())["num_refreshes"] == 2


def unmoved_in(workspace: Workspace, trained: Any) -> set[str]:
    before, after = load_file(workspace.root / "parent" / "model.safetensors"), weights(workspace, trained)
    return {name for name, value in before.items() if torch.equal(after[name], value)}


def test_it_trains_and_resumes_exactly(tmp_path: Path) -> None:
    ends_like_one_never_stopped(tmp_path, SETTINGS)


def test_it_resumes_exactly_in_a_later_refresh(tmp_path: Path) -> None:
    def third(workspace: Workspace) -> TrainingState:
        folder = workspace.root / "kept"
        write_kept(folder, {file_of("params", Half()): {"num_refreshes": torch.tensor(2)}})
        return describe_state(workspace, folder, STATE)

    ends_like_one_never_stopped(tmp_path, SETTINGS, state=third)


def test_a_network_with_fused_projections_is_halved_too() -> None:
    gpt2 = GPT2Config(n_embd=8, n_layer=2, n_head=2, vocab_size=16, n_positions=8)
    attached = Half().attach(AutoModelForCausalLM.from_config(gpt2), 0, {})
    for layer in range(2):
        matrices = [name for name in frozen(attached) if f".h.{layer}." in name and name.endswith("weight")]
        assert len([name for name in matrices if "attn" in name]) == 1  # of c_attn and c_proj
        assert len([name for name in matrices if "mlp" in name]) == 1
        assert len([name for name in matrices if "ln_" in name]) == 1


def test_experts_in_stacks_are_refused() -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_key_value_heads": 2}
    config = MixtralConfig(**sizes, num_hidden_layers=1, num_local_experts=2, vocab_size=16)
    with pytest.raises(ValueError, match=r"half: model\.layers\.0\.mlp\.experts holds weights with 3 axes"):
        Half().attach(AutoModelForCausalLM.from_config(config), 0, {})


def test_a_network_without_layers_is_refused() -> None:
    network = llama(2)
    network.config.num_hidden_layers = 5
    with pytest.raises(ValueError, match="LlamaForCausalLM has no list of 5 layers"):
        Half().attach(network, 0, {})
