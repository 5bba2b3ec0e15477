from dataclasses import replace
from pathlib import Path

import pytest
import torch

from steps.core.models import INDEX, digest_of_model, load_model
from steps.methods.merge.linear import Linear
from tests.steps.methods.merge.models import sources, weights
from tests.tiny_models import tiny_model


def test_a_quarter_of_the_way_is_a_quarter_of_the_way(tmp_path: Path) -> None:
    given = sources(tmp_path)
    made = Linear(weight=0.25).merge(given, tmp_path / "out")
    left, right, found = weights(given.parent), weights(given.trained), weights(made)
    assert found.keys() == right.keys()
    assert all(torch.equal(found[name], 0.75 * left[name] + 0.25 * right[name]) for name in found)
    assert load_model(made).config.vocab_size == 260


@pytest.mark.parametrize(("weight", "is_"), [(1.0, "trained"), (0.0, "parent")])
def test_at_its_ends_it_is_one_of_the_two_exactly(tmp_path: Path, weight: float, is_: str) -> None:
    given = sources(tmp_path)
    made = Linear(weight=weight).merge(given, tmp_path / "out")
    assert digest_of_model(made) == digest_of_model(getattr(given, is_))


def test_a_model_in_several_files_stays_in_them(tmp_path: Path) -> None:
    given, spread = sources(tmp_path), tiny_model(tmp_path / "s", 1)
    (spread / "model.safetensors").unlink()
    load_model(given.trained).save_pretrained(spread, max_shard_size="100KB")
    one = Linear().merge(given, tmp_path / "one")
    many = Linear().merge(replace(given, trained=spread), tmp_path / "many")
    assert (many / INDEX).is_file()
    assert digest_of_model(one) == digest_of_model(many)


def test_the_sum_is_formed_in_float32_and_stored_as_the_trained_model_is(tmp_path: Path) -> None:
    given = sources(tmp_path)
    load_model(given.trained).to(torch.bfloat16).save_pretrained(given.trained)
    found = weights(Linear(weight=0.5).merge(given, tmp_path / "out"))["model.norm.weight"]
    left, right = weights(given.parent)["model.norm.weight"], weights(given.trained)["model.norm.weight"]
    assert torch.equal(found, (0.5 * left + 0.5 * right.float()).to(torch.bfloat16))


def test_tensors_of_whole_numbers_are_the_trained_models(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    given = sources(tmp_path)
    for number, at in enumerate((given.parent, given.trained)):
        save_file({**weights(at), "steps": torch.tensor([number])}, at / "model.safetensors")
    assert weights(Linear(weight=0.5).merge(given, tmp_path / "out"))["steps"].tolist() == [1]


def test_models_of_two_shapes_do_not_merge(tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    given = sources(tmp_path)
    config = load_model(given.trained).config
    config.num_hidden_layers = 3
    LlamaForCausalLM(config).save_pretrained(given.trained)
    with pytest.raises(ValueError, match=r"found 9 that differ \(model\.layers\.2\.input_layernorm\.weight"):
        Linear().merge(given, tmp_path / "out")
    assert not (tmp_path / "out").exists()
