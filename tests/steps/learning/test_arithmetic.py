from pathlib import Path
from typing import Any

import pytest
import torch

from steps.core.blocks import MicroBatch, keeps_apart
from steps.core.forward import outputs_at
from steps.core.models import load_model
from steps.learning.arithmetic import Arithmetic
from tests.tiny_models import rows_of, tiny_model, tiny_workspace
from tests.training import ends_like_one_never_stopped, run, section, weights

INPUT_IDS = torch.arange(4, 20).reshape(2, 8)
POSITIONS = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5, 0, 1]])
BATCH = MicroBatch(INPUT_IDS, POSITIONS > 0, POSITIONS, None, None, ["new/alpha", "replay/general"])
LORA = {"method": "lora", "rank": 4, "alpha": 8}


def network(folder: Path, **knobs: Any) -> Any:
    made = load_model(tiny_model(folder / "model"))
    Arithmetic(**knobs).prepare(made)
    return made


def gradients(of: Any) -> dict[str, torch.Tensor]:
    of.zero_grad()
    outputs_at(of, BATCH).logits.square().mean().backward()
    return {name: parameter.grad.clone() for name, parameter in of.named_parameters()}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_documents_are_kept_apart_by_each_kernel_that_runs_here(tmp_path: Path, attention: str) -> None:
    made, plain = network(tmp_path, attention=attention), network(tmp_path)
    assert made.config._attn_implementation == attention
    assert keeps_apart(made)
    assert torch.allclose(outputs_at(made, BATCH).logits, outputs_at(plain, BATCH).logits, atol=1e-5)


def test_checkpointing_gives_the_same_gradients_to_the_bit(tmp_path: Path) -> None:
    made, plain = network(tmp_path, gradient_checkpointing=True), network(tmp_path)
    found, wanted = gradients(made), gradients(plain)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_checkpointing_keeps_less_for_the_backward_pass(tmp_path: Path) -> None:
    def kept(of: Any) -> int:
        sizes: dict[int, int] = {}

        def look(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(look, lambda tensor: tensor):
            outputs_at(of, BATCH)
        return sum(sizes.values()) - sum(parameter.nbytes for parameter in of.parameters())

    assert kept(network(tmp_path, gradient_checkpointing=True)) < kept(network(tmp_path)) / 2


@pytest.mark.parametrize("params", [{"method": "full"}, LORA])
def test_checkpointing_changes_no_bit_of_a_run(tmp_path: Path, params: dict[str, Any]) -> None:
    ends = []
    for name, knobs in (("plain", {}), ("again", {"gradient_checkpointing": True})):
        workspace = tiny_workspace(tmp_path / name)
        trained = run(workspace, section(params=params, **knobs), 3)
        ends.append((rows_of(workspace.at(trained.history)), trained.model.digest))
    assert ends[0] == ends[1]


def test_checkpointing_ends_like_a_run_never_stopped(tmp_path: Path) -> None:
    ends_like_one_never_stopped(tmp_path, section(gradient_checkpointing=True))


def test_layers_that_drop_out_in_training_mode_are_noticed(tmp_path: Path) -> None:
    from transformers import OPTConfig, OPTForCausalLM

    shape = {"hidden_size": 16, "ffn_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 260}
    shape |= {"max_position_embeddings": 16, "word_embed_proj_dim": 16}
    with pytest.raises(ValueError, match="OPTDecoderLayer computes other numbers in training mode"):
        Arithmetic(gradient_checkpointing=True).prepare(OPTForCausalLM(OPTConfig(**shape, dropout=0.5)).eval())


def test_layers_that_are_watched_are_not_compiled(tmp_path: Path) -> None:
    made = network(tmp_path)
    made.model.layers[0].mlp.up_proj.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match=r"train.compile: the params method watches the layers"):
        Arithmetic(compile=True).prepare(made)


@pytest.mark.parametrize("knob", ["gradient_checkpointing", "compile"])
def test_a_network_without_layers_is_refused(knob: str) -> None:
    with pytest.raises(ValueError, match=f"train.{knob}: Linear has no layers"):
        Arithmetic(**{knob: True}).prepare(torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("device", "precision", "need"),
    [("cpu", "float32", "a GPU, found device cpu"), ("cuda", "float32", "precision bfloat16, found float32")],
)
def test_flash_attention_says_what_it_needs(device: str, precision: str, need: str) -> None:
    with pytest.raises(ValueError, match=f"train.attention: flash needs {need}; use sdpa"):
        Arithmetic(attention="flash").check(device, precision)


def test_flash_attention_without_its_package_says_so() -> None:
    pytest.importorskip("transformers")
    from transformers.utils import is_flash_attn_2_available

    if is_flash_attn_2_available():
        pytest.skip("it is here")
    with pytest.raises(ValueError, match="flash needs the package flash-attn"):
        Arithmetic(attention="flash").check("cuda", "bfloat16")


def test_a_refusal_comes_from_the_stage(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.attention: flash needs a GPU"):
        run(tiny_workspace(tmp_path), section(attention="flash"), 2)


@pytest.mark.slow
@pytest.mark.parametrize("knobs", [{}, {"gradient_checkpointing": True}, {"params": LORA}])
def test_compiled_layers_compute_the_same_and_compile_once_per_shape(tmp_path: Path, knobs: dict[str, Any]) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain, made = tiny_workspace(tmp_path / "plain"), tiny_workspace(tmp_path / "compiled")
    wanted, found = run(plain, section(**knobs), 4), run(made, section(**knobs, compile=True), 4)
    left, right = rows_of(plain.at(wanted.history)), rows_of(made.at(found.history))
    for one, other in zip(left, right, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    expected, got = weights(plain, wanted), weights(made, found)
    assert all(torch.allclose(expected[name], got[name], atol=1e-4) for name in expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2


@pytest.mark.slow
def test_a_compiled_run_ends_like_one_never_stopped(tmp_path: Path) -> None:
    ends_like_one_never_stopped(tmp_path, section(compile=True))
