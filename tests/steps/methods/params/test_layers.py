import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from steps.core.models import load_model
from steps.core.training_state import read_kept
from steps.methods.params.full import Full
from steps.methods.params.layers import Layers
from steps.train import train
from tests.steps.methods.params.learning import learned
from tests.tiny_models import rows_of, tiny_model, tiny_workspace, training_set, validation_items
from tests.training import ends_like_one_never_stopped, run, section, weights

MLP = "model.layers.0.mlp.up_proj"
NORM = "model.norm"


def opened(folder: Path, past: dict[str, torch.Tensor] | None = None, **knobs: Any) -> list[str]:
    return list(Layers(**knobs).attach(load_model(tiny_model(folder)), 0, past or {}).trained)


def test_patterns_name_modules_or_parameters_and_all_below_them(tmp_path: Path) -> None:
    mlp = [f"model.layers.{number}.mlp.{part}_proj.weight" for number in (0, 1) for part in ("gate", "up", "down")]
    assert opened(tmp_path, train=("*.mlp",)) == mlp
    assert opened(tmp_path, train=("model.layers.1",), freeze=("*.self_attn", "*norm*")) == mlp[3:]
    assert opened(tmp_path, train=("*.0.mlp.up_proj.weight", NORM)) == [f"{MLP}.weight", f"{NORM}.weight"]


@pytest.mark.parametrize("knobs", [{}, {"forgetting_prone": 1.0, "window_steps": 1}], ids=["all", "a share of 1"])
def test_it_is_full_exactly_when_everything_matches(tmp_path: Path, knobs: dict[str, Any]) -> None:
    expected, found = learned(Full(), tmp_path), learned(Layers(**knobs), tmp_path)
    assert expected.trained.keys() == found.trained.keys()
    assert all(torch.equal(expected.trained[name], found.trained[name]) for name in expected.trained)


def test_what_is_frozen_stays_as_it_is_to_the_bit_and_all_else_moves(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    settings = section(params={"method": "layers", "freeze": ["*.self_attn", "model.embed_tokens"]})
    settings = settings.model_copy(update={"optimizer": settings.optimizer.model_copy(update={"weight_decay": 0.1})})
    after = weights(workspace, run(workspace, settings, num_steps=4))
    before = load_file(tmp_path / "parent/model.safetensors")
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {name for name in before if "self_attn" in name or "embed_tokens" in name}


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"train": ("*.experts",)}, r"train '\*\.experts' fits nothing; there are: .*model\.layers\.\*\.mlp\.up_proj"),
        ({"freeze": ("decoder",)}, r"freeze 'decoder' fits nothing; there are: model\.embed_tokens\.weight, "),
        (
            {"train": ("lm_head",)},
            r"fits nothing of its own: lm_head\.weight is model\.embed_tokens\.weight; name that",
        ),
        ({"freeze": ("model",)}, r"leaves nothing of train \('\*',\)"),
    ],
)
def test_patterns_that_fit_nothing_are_answered_with_what_there_is(
    tmp_path: Path, knobs: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        opened(tmp_path, **knobs)


def test_sensitivity_is_the_way_across_the_switch_over_the_way_within(tmp_path: Path) -> None:
    layers = Layers(train=(MLP, NORM), forgetting_prone=0.5, window_steps=2)
    attached = layers.attach(load_model(tiny_model(tmp_path)), 0, {})
    moves = {MLP: (0.3, 0.3, 0.1, 0.1), NORM: (0.1, -0.05, 0.1, -0.2)}  # of every entry, step by step
    for step in range(4):
        for module, way in moves.items():
            with torch.no_grad():
                attached.trained[f"{module}.weight"].add_(way[step])
        layers.moved(attached, step + 1)
    kept = layers.keep(attached)
    assert sorted(kept) == [f"sensitivity/{MLP}", f"sensitivity/{NORM}"]
    assert float(kept[f"sensitivity/{MLP}"]) == pytest.approx(0.6 / 0.2, rel=1e-5)
    assert float(kept[f"sensitivity/{NORM}"]) == pytest.approx(0.05 / 0.1, rel=1e-5)
    assert not any(name.startswith("before/") for name in attached.memory)  # the copy is not held any longer


def test_the_most_sensitive_share_is_trained_and_so_is_what_was_never_measured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    past = {f"sensitivity/model.layers.{k}.mlp.up_proj": torch.tensor(float(k)) for k in (0, 1)}
    past |= {f"sensitivity/model.layers.{k}.mlp.down_proj": torch.tensor(2.0) for k in (0, 1)}
    with caplog.at_level(logging.INFO):
        found = opened(tmp_path, past, train=("*.mlp",), forgetting_prone=0.5)
    gates = [f"model.layers.{k}.mlp.gate_proj.weight" for k in (0, 1)]
    assert sorted(found) == sorted([*gates, *(f"model.layers.{k}.mlp.down_proj.weight" for k in (0, 1))])
    assert "trains 2 of 4 measured modules: model.layers.0.mlp.down_proj, model.layers.1" in caplog.text
    assert len(opened(tmp_path, past, train=("*.mlp",), forgetting_prone=0.51)) == 2 + 3  # rounded up
    assert len(opened(tmp_path, past, train=("*.mlp",))) == 6  # not asked for


def test_a_refresh_trains_what_the_one_before_found_to_forget(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    settings = section(params={"method": "layers", "forgetting_prone": 0.25, "window_steps": 2})
    first = run(workspace, settings, num_steps=6)
    known = {name: float(it) for name, it in read_kept(workspace, first.state, "params", settings.params).items()}
    parent = load_file(tmp_path / "parent/model.safetensors")
    assert sorted(known) == sorted(f"sensitivity/{name.rpartition('.')[0]}" for name in parent)
    workspace.path.rename(tmp_path / "accepted")
    workspace.path.mkdir()
    model = first.model.model_copy(update={"path": "accepted/model"})
    state = first.state.model_copy(update={"path": "accepted/state"})
    again = train(workspace, settings, model, state, training_set(workspace, 6), validation_items(workspace))
    before, after = load_file(tmp_path / "accepted/model/model.safetensors"), weights(workspace, again)
    moved = {f"sensitivity/{name.rpartition('.')[0]}" for name in before if not torch.equal(before[name], after[name])}
    ranked = sorted(known, key=lambda name: -known[name])
    assert moved == set(ranked[:5])  # a quarter of 20 modules
    kept = read_kept(workspace, again.state, "params", settings.params)
    assert {name for name in kept if float(kept[name]) != known[name]} == moved  # the frozen keep what was measured


def test_a_refresh_too_short_to_measure_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    layers = Layers(forgetting_prone=0.5, window_steps=3)
    past = {f"sensitivity/{NORM}": torch.tensor(2.0)}
    attached = learned(layers, tmp_path, past, num_steps=4)
    assert layers.keep(attached) == past
    assert "too few steps to measure which modules forget: wanted 6" in caplog.text


@pytest.mark.parametrize(
    "knobs",
    [{"train": ["*.mlp"]}, {"forgetting_prone": 0.5, "window_steps": 6}],
    ids=["by name", "measured across the stop"],
)
def test_it_trains_and_resumes_exactly(tmp_path: Path, knobs: dict[str, Any]) -> None:
    whole = ends_like_one_never_stopped(tmp_path, section(params={"method": "layers", **knobs}))
    losses = [row["train/loss_nats_per_token"] for row in rows_of(tmp_path / "straight" / whole.history)[1:]]
    assert sum(losses[-4:]) < sum(losses[:4])
