from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from steps.core.models import INDEX, digest_of_model, load_model
from steps.methods.merge.linear import Linear
from tests.tiny_models import tiny_model


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


def test_a_quarter_of_the_way_is_a_quarter_of_the_way(tmp_path: Path) -> None:
    parent, trained = tiny_model(tmp_path / "p", 0), tiny_model(tmp_path / "t", 1)
    made = Linear(weight=0.25).merge(parent, trained, tmp_path / "out")
    left, right, found = weights(parent), weights(trained), weights(made)
    assert found.keys() == right.keys()
    assert all(torch.equal(found[name], 0.75 * left[name] + 0.25 * right[name]) for name in found)
    assert load_model(made).config.vocab_size == 260


@pytest.mark.parametrize(("weight", "is_"), [(1.0, "t"), (0.0, "p")])
def test_at_its_ends_it_is_one_of_the_two_exactly(tmp_path: Path, weight: float, is_: str) -> None:
    parent, trained = tiny_model(tmp_path / "p", 0), tiny_model(tmp_path / "t", 1)
    made = Linear(weight=weight).merge(parent, trained, tmp_path / "out")
    assert digest_of_model(made) == digest_of_model(tmp_path / is_)


def test_a_model_in_several_files_stays_in_them(tmp_path: Path) -> None:
    parent, whole = tiny_model(tmp_path / "p", 0), tiny_model(tmp_path / "t", 1)
    spread = tiny_model(tmp_path / "s", 1)
    (spread / "model.safetensors").unlink()
    load_model(whole).save_pretrained(spread, max_shard_size="100KB")
    one, many = (Linear().merge(parent, at, tmp_path / f"out-{at.name}") for at in (whole, spread))
    assert (many / INDEX).is_file()
    assert digest_of_model(one) == digest_of_model(many)


def test_the_sum_is_formed_in_float32_and_stored_as_the_trained_model_is(tmp_path: Path) -> None:
    parent, trained = tiny_model(tmp_path / "p", 0), tiny_model(tmp_path / "t", 1)
    load_model(trained).to(torch.bfloat16).save_pretrained(trained)
    found = weights(Linear(weight=0.5).merge(parent, trained, tmp_path / "out"))["model.norm.weight"]
    left, right = weights(parent)["model.norm.weight"], weights(trained)["model.norm.weight"]
    assert torch.equal(found, (0.5 * left + 0.5 * right.float()).to(torch.bfloat16))


def test_models_of_two_shapes_do_not_merge(tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    parent, trained = tiny_model(tmp_path / "p"), tiny_model(tmp_path / "t")
    config = load_model(trained).config
    config.num_hidden_layers = 3
    LlamaForCausalLM(config).save_pretrained(trained)
    with pytest.raises(ValueError, match=r"found 9 that differ \(model\.layers\.2\.input_layernorm\.weight"):
        Linear().merge(parent, trained, tmp_path / "out")
    assert not (tmp_path / "out").exists()
