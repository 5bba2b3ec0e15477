import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from steps.core.models import load_model, save_model
from steps.core.weight_changes import (
    MatrixChange,
    by_layer,
    decomposed,
    effective_rank,
    farthest,
    in_all,
    left_vectors,
    num_intruders,
    place_of,
    ratio,
    weight_changes,
    work_of,
)
from tests.tiny_models import tiny_model

Q = "model.layers.1.self_attn.q_proj.weight"


def draws(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def changed(folder: Path, **updates: torch.Tensor) -> Path:
    """A tiny model with updates added to some of its tensors; dots are written as double underscores."""
    tensors = load_file(tiny_model(folder) / "model.safetensors")
    for name, update in updates.items():
        tensors[name.replace("__", ".")] += update
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def of(name: str, found: list[MatrixChange]) -> MatrixChange:
    return next(change for change in found if change.name == name)


def test_a_rank_one_update_has_effective_rank_one() -> None:
    assert effective_rank(np.outer(draws(6), draws(9, seed=1))) == pytest.approx(1.0, abs=1e-6)


def test_equally_strong_directions_are_counted() -> None:
    assert effective_rank(np.diag([2.0, 2.0, 2.0, 0.0])) == pytest.approx(3.0)
    assert effective_rank(np.zeros((3, 5))) == 0.0


def test_the_effective_rank_is_the_entropy_of_the_singular_values() -> None:
    share = np.array([3, 1]) / 4
    wanted = math.exp(-(share * np.log(share)).sum())
    assert effective_rank(np.array([[0.0, 3.0, 0.0], [1.0, 0.0, 0.0]])) == pytest.approx(wanted)


@pytest.mark.parametrize("shape", [(5, 12), (12, 5), (7, 7)])
def test_the_left_vectors_are_those_of_the_decomposition(shape: tuple[int, int]) -> None:
    x_MN = draws(*shape)
    wanted = np.linalg.svd(x_MN, full_matrices=False)[0]
    assert np.abs(np.einsum("ms,ms->s", left_vectors(x_MN)[:, ::-1], wanted)) == pytest.approx(1.0)
    assert np.abs(np.einsum("ms,ms->s", left_vectors(x_MN, 2)[:, ::-1], wanted[:, :2])) == pytest.approx(1.0)


def test_a_direction_that_the_parent_never_wrote_to_is_an_intruder() -> None:
    parent = np.diag([3.0, 2.0, 1.0, 0.0])
    new = parent + np.diag([0.0, 0.0, 0.0, 10.0])
    assert num_intruders(new, parent) == 1
    assert num_intruders(parent, new) == 0


def test_a_strong_direction_spread_over_all_old_ones_is_an_intruder_and_a_weak_one_is_not() -> None:
    parent = np.diag(np.arange(9.0, 0.0, -1.0))
    spread = np.ones((9, 1)) / 3  # |cosine| of a third with each of the nine
    assert num_intruders(parent + 1000 * spread @ spread.T, parent, top_vectors=1) == 1
    assert num_intruders(parent + 0.01 * spread @ spread.T, parent) == 0


@pytest.mark.parametrize(("shape", "seed"), [((24, 40), 1), ((40, 24), 2), ((30, 30), 3)])
def test_intruders_are_as_two_whole_decompositions_count_them(shape: tuple[int, int], seed: int) -> None:
    parent = draws(*shape, seed=seed)
    new = parent + 3 * np.outer(draws(shape[0], seed=9), draws(shape[1], seed=8))
    bases = [np.linalg.svd(x, full_matrices=False)[0] for x in (new, parent)]
    for top, epsilon in ((10, 0.5), (3, 0.7), (20, 0.9)):
        wanted = int((np.abs(bases[0].T @ bases[1]).max(axis=1)[:top] < epsilon).sum())
        assert num_intruders(new, parent, top, epsilon) == wanted


@pytest.mark.parametrize(("top", "epsilon"), [(10, 0.5), (4, 0.9)])
def test_peft_counts_the_same_intruders(tmp_path: Path, top: int, epsilon: float) -> None:
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora.intruders import reduce_intruder_dimension

    torch.manual_seed(1)
    network = load_model(tiny_model(tmp_path / "parent"))
    targets = ["q_proj", "v_proj", "down_proj", "up_proj"]
    network = get_peft_model(network, LoraConfig(r=4, lora_alpha=40, target_modules=targets, init_lora_weights=False))
    layers = {name: layer for name, layer in network.named_modules() if hasattr(layer, "get_delta_weight")}
    ours = {}
    for name, layer in layers.items():
        parent, update = layer.get_base_layer().weight.detach(), layer.get_delta_weight("default").detach()
        ours[name] = num_intruders((parent + update).double().numpy(), parent.double().numpy(), top, epsilon)
    said: list[str] = []
    reduce_intruder_dimension(network, top_k=top, threshold_epsilon=epsilon, logging_sink=said.append)
    theirs = dict(line.split(": ", 1) for line in said if ": " in line)
    assert {name: f"Intruders: {number}" if number else "No intruders" for name, number in ours.items()} == theirs
    assert sum(ours.values()) > 0


def test_unchanged_weights_moved_nowhere(tmp_path: Path) -> None:
    found = weight_changes(tiny_model(tmp_path / "a"), tiny_model(tmp_path / "b"))
    assert {change.norm for change in found} == {0.0}
    assert {(change.effective_rank, change.intruders) for change in found if len(change.shape) == 2} == {(0.0, 0)}
    whole = in_all(found)
    assert (whole.norm, whole.relative, whole.effective_rank, whole.intruders) == (0.0, 0.0, 0.0, 0)


def test_one_changed_matrix_is_found_with_its_norm_rank_and_place(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "parent")
    before = load_file(parent / "model.safetensors")[Q]
    update = 0.01 * torch.outer(torch.arange(before.shape[0]).float(), torch.ones(before.shape[1]))
    found = weight_changes(parent, changed(tmp_path / "new", **{Q.replace(".", "__"): update}))
    change = of(Q, found)
    assert (change.layer, change.kind) == (1, "self_attn.q_proj")
    assert change.norm == pytest.approx(float(update.double().norm()), rel=1e-5)
    assert change.relative == pytest.approx(float(update.norm() / before.norm()), rel=1e-5)
    assert change.effective_rank == pytest.approx(1.0, abs=0.01)
    assert [each.name for each in found if each.norm] == [Q]
    layers = {layer.layer: layer for layer in by_layer(found)}
    assert list(layers) == [0, 1, None]
    assert layers[1].norm == change.norm
    assert layers[0].norm == 0.0
    assert layers[1].effective_rank == change.effective_rank, "the mean is over matrices that changed"


def test_the_norm_of_a_layer_is_that_of_its_tensors_together() -> None:
    parts = [
        MatrixChange(
            name=str(n),
            layer=0,
            kind="q",
            shape=(2, 2),
            norm=norm,
            parent_norm=stood,
            intruders=n,
            effective_rank=n + 1,
        )
        for n, (norm, stood) in enumerate([(3.0, 6.0), (4.0, 8.0)])
    ]
    unchanged = parts[0].model_copy(update={"norm": 0.0, "parent_norm": 0.0, "effective_rank": 0.0, "intruders": 0})
    whole = in_all([*parts, unchanged], layer=0)
    assert (whole.norm, whole.relative, whole.intruders) == (5.0, 0.5, 1)
    assert whole.effective_rank == 1.5, "the mean is over what changed"
    unknown = parts[0].model_copy(update={"effective_rank": None, "intruders": None})
    assert in_all([unknown, unchanged]).intruders is None, "what changed was not decomposed"


def test_how_the_tensors_are_spread_over_files_does_not_count(tmp_path: Path) -> None:
    whole = tiny_model(tmp_path / "whole", seed=1)
    spread = tmp_path / "spread"
    spread.mkdir()
    load_model(whole).save_pretrained(spread, max_shard_size="100KB")
    assert len(list(spread.glob("*.safetensors"))) > 1
    parent = tiny_model(tmp_path / "parent")
    assert weight_changes(parent, spread) == weight_changes(parent, whole)


def test_tied_embeddings_are_counted_once(tmp_path: Path) -> None:
    first, second = tiny_model(tmp_path / "a"), tiny_model(tmp_path / "b", seed=1)
    for folder in (first, second):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
        tensors = load_file(folder / "model.safetensors")
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    kinds = [change.kind for change in weight_changes(first, second) if change.layer is None]
    assert kinds == ["embed_tokens", "norm"]


def test_an_adapter_counts_by_what_was_merged(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    parent = tiny_model(tmp_path / "parent")
    torch.manual_seed(0)
    network = get_peft_model(load_model(parent), LoraConfig(r=3, target_modules=["v_proj"], init_lora_weights=False))
    delta = network.base_model.model.model.layers[0].self_attn.v_proj.get_delta_weight("default").detach().double()
    save_model(network.merge_and_unload(), tmp_path / "merged", parent)
    found = weight_changes(parent, tmp_path / "merged")
    assert {change.kind for change in found if change.norm} == {"self_attn.v_proj"}
    change = of("model.layers.0.self_attn.v_proj.weight", found)
    assert change.norm == pytest.approx(float(delta.norm()), rel=1e-5)
    share = (values := torch.linalg.svdvals(delta)[:3]) / values.sum()
    assert change.effective_rank == pytest.approx(float(torch.exp(-(share * share.log()).sum())), abs=0.01)


def test_weights_that_are_no_numbers_are_told_of_and_break_nothing(tmp_path: Path) -> None:
    broken = torch.full((64, 64), float("nan"))
    parent = tiny_model(tmp_path / "parent")
    shape = load_file(parent / "model.safetensors")[Q].shape
    found = weight_changes(parent, changed(tmp_path / "new", **{Q.replace(".", "__"): broken[: shape[0], : shape[1]]}))
    change = of(Q, found)
    assert (change.norm, change.relative, change.effective_rank, change.intruders) == (None, None, None, None)
    assert in_all(found).norm is None


def test_other_tensors_are_refused_by_name(tmp_path: Path) -> None:
    parent, other = tiny_model(tmp_path / "parent"), tiny_model(tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    tensors[Q] = tensors[Q][:8].clone()
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"found 1 that differ .*layers\.1\.self_attn\.q_proj.*`weights: false`"):
        weight_changes(parent, other)


def test_a_small_budget_takes_whole_layers_evenly_and_none_takes_nothing() -> None:
    layers = [
        MatrixChange(name=f"{n}.{kind}", layer=n, kind=kind, shape=(100, 100), norm=1.0, parent_norm=2.0)
        for n in range(6)
        for kind in "qk"
    ]
    outside = layers[0].model_copy(update={"name": "embed", "layer": None})
    one = 2 * work_of((100, 100))
    assert decomposed([*layers, outside], 2.01 * one) == {"1.q", "1.k", "4.q", "4.k"}
    assert decomposed([*layers, outside], 7 * one) == {change.name for change in [*layers, outside]}
    assert decomposed([*layers, outside], 0.0) == set()


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("model.layers.12.self_attn.q_proj.weight", (12, "self_attn.q_proj")),
        ("transformer.h.0.mlp.experts.7.up.weight", (0, "mlp.experts.*.up")),
        ("model.embed_tokens.weight", (None, "embed_tokens")),
        ("gpt_neox.layers.3.attention.dense.bias", (3, "attention.dense.bias")),
    ],
)
def test_a_tensor_is_placed_by_its_name(name: str, place: tuple[int | None, str]) -> None:
    assert place_of(name) == place


def test_the_matrices_that_moved_most_for_their_size_are_named() -> None:
    moved = [
        MatrixChange(name=f"{name}.weight", layer=0, kind=name, shape=shape, norm=norm, parent_norm=10.0)
        for name, shape, norm in [("a", (2, 2), 1.0), ("b", (2, 2), 3.0), ("norm", (2,), 9.0), ("c", (2, 2), 0.0)]
    ]
    assert farthest(moved) == {"b": 0.3, "a": 0.1}
    assert list(farthest(moved, 1)) == ["b"]


def test_what_stood_at_zero_has_no_relative_change() -> None:
    assert (ratio(1.0, 0.0), ratio(0.0, 0.0), ratio(None, 1.0)) == (None, 0.0, None)
