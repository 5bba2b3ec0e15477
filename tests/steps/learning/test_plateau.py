"""Refreshes with the infinite schedule on the tiny model: what is kept beside the release, and what the next does."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from steps.core.artifacts import Trained, TrainingState
from steps.core.checkpoints import Checkpoints
from steps.core.models import digest_of_model, load_model, load_tokenizer
from steps.core.training import HeldOut
from steps.core.training_state import EMPTY
from steps.core.workspace import Workspace
from steps.learning.plateau import Plateau
from steps.methods.schedule.constant import Constant
from steps.methods.schedule.infinite import Infinite
from steps.train import train
from tests.steps.learning.test_learner import learner
from tests.tiny_models import parent_model, rows_of, tiny_workspace, training_set, validation_items
from tests.training import Killed, dying, run, section, weights

INFINITE = {"method": "infinite", "constant_ratio": 0.5}
METHODS: list[dict[str, Any]] = [{"method": "full"}, {"method": "lora", "rank": 4, "alpha": 8}]


def after(workspace: Workspace, before: Trained, **knobs: Any) -> Trained:
    """The next refresh, in a folder of its own; what the first one made is its parent."""
    there = tiny_workspace(workspace.root, stage="second")
    blocks, items = training_set(there, 20), validation_items(there)
    settings = section(**{"schedule": INFINITE, **knobs})
    return train(there, settings, before.model, before.state, blocks, items)


def plateau_weights(workspace: Workspace, trained: Trained) -> dict[str, torch.Tensor]:
    assert trained.state.path
    return load_file(workspace.at(trained.state.path) / "plateau/model.safetensors")


def validation_loss(workspace: Workspace, folder: Path) -> float:
    items = validation_items(workspace)
    held_out = HeldOut(workspace.at(items.path), items, folder, 16, 64)
    return held_out.losses(load_model(folder))["train/validation_alpha"]


@pytest.mark.parametrize("params", METHODS)
def test_the_plateau_is_the_release_of_a_run_that_ends_there(tmp_path: Path, params: dict[str, Any]) -> None:
    """20 steps with the anneal after step 16 pass through the weights of the same 16 steps without an anneal."""
    long, short = tiny_workspace(tmp_path / "long"), tiny_workspace(tmp_path / "short")
    constant = {"method": "infinite", "warmup_end": 0, "cooldown_end": 0, "constant_ratio": 1}
    kept = run(long, section(params=params, schedule=constant), 20)
    blocks = training_set(short, 20).model_copy(update={"num_steps": 16})
    order = short.at(blocks.path) / "order.npy"
    np.save(order, np.load(order)[: 16 * 2])
    flat = section(params=params, schedule={"method": "constant"})
    ended = train(short, flat, parent_model(short), EMPTY, blocks, validation_items(short))
    expected, found = weights(short, ended), plateau_weights(long, kept)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert not all(torch.equal(found[name], each) for name, each in weights(long, kept).items())


def test_the_plateau_is_a_whole_model_and_nothing_else_is_left(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    trained = run(workspace, section(schedule=INFINITE, params=METHODS[1]), 20)
    assert trained.state.path == "data/train/state"
    assert [path.name for path in (tmp_path / "data/train/state").iterdir()] == ["plateau"]
    assert load_tokenizer(tmp_path / "data/train/state/plateau")("a").input_ids
    assert sorted(path.name for path in (tmp_path / "data/train").iterdir()) == [
        "adapter",
        "history.jsonl",
        "model",
        "state",
    ]


@pytest.mark.parametrize("params", METHODS)
@pytest.mark.parametrize("died", [15, 16, 18])
def test_a_run_stopped_around_the_plateau_ends_like_one_never_stopped(
    tmp_path: Path, params: dict[str, Any], died: int
) -> None:
    settings = section(schedule=INFINITE, params=params, checkpoint_steps=2)
    whole = run(tiny_workspace(tmp_path / "straight"), settings, 20)
    with pytest.raises(Killed):
        run(dying(tmp_path / "stopped", died), settings, 20)
    resumed_at = tiny_workspace(tmp_path / "stopped")
    resumed = run(resumed_at, settings, 20)
    assert (resumed.digest, resumed.state.digest) == (whole.digest, whole.state.digest)
    plateau = tmp_path / "stopped/data/train/state/plateau"
    assert digest_of_model(plateau) == digest_of_model(tmp_path / "straight/data/train/state/plateau")


@pytest.mark.parametrize("params", METHODS)
def test_the_second_refresh_trains_from_the_plateau_without_a_warm_up(tmp_path: Path, params: dict[str, Any]) -> None:
    workspace = tiny_workspace(tmp_path)
    first = run(workspace, section(schedule=INFINITE, params=params), 20)
    second = after(workspace, first, params=params)
    before, now = rows_of(workspace.at(first.history)), rows_of(workspace.at(second.history))
    rates = [row["train/learning_rate"] for row in before[1:]]
    assert rates[:3] == pytest.approx([1e-2, 7.5e-3, 5e-3])  # the peak after one step of warm-up, cool-down to a half
    assert [row["train/learning_rate"] for row in now[1:17]] == [5e-3] * 16
    loss = validation_loss(workspace, tmp_path / "data/train/state/plateau")
    assert now[0]["train/validation_alpha"] == loss
    assert before[-1]["train/validation_alpha"] == pytest.approx(
        validation_loss(workspace, tmp_path / first.model.path)
    )
    assert before[-1]["train/validation_alpha"] != pytest.approx(loss)


def test_on_request_it_trains_from_the_released_model(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    first = run(workspace, section(schedule=INFINITE), 20)
    second = after(workspace, first, schedule={**INFINITE, "start": "released"})
    now = rows_of(workspace.at(second.history))
    assert now[0]["train/validation_alpha"] == validation_loss(workspace, tmp_path / first.model.path)
    assert now[1]["train/learning_rate"] == 5e-3  # it is continued: no warm-up
    assert second.state.path


def test_another_schedule_in_between_drops_the_plateau_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = tiny_workspace(tmp_path)
    first = run(workspace, section(schedule=INFINITE), 20)
    with caplog.at_level(logging.WARNING):
        second = after(workspace, first, schedule="wsd")
    assert "training state not carried on, since no method of this recipe uses it: plateau" in caplog.text
    assert second.state == EMPTY
    begun = rows_of(workspace.at(second.history))[0]["train/validation_alpha"]
    assert begun == validation_loss(workspace, tmp_path / first.model.path)


def test_a_damaged_state_is_refused_before_a_step_is_taken(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    first = run(workspace, section(schedule=INFINITE), 20)
    file = tmp_path / "data/train/state/plateau/model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"wanted a training state with digest \w{16}, found \w{16}: it was damaged"):
        after(workspace, first)


def aside(root: Path, schedule: Any = Infinite()) -> Plateau:  # noqa: B008 (frozen)
    checkpoints = Checkpoints(root / "checkpoints", "a run")
    return Plateau(tiny_workspace(root), schedule, 20, EMPTY, checkpoints)


def test_what_is_set_aside_is_read_back(tmp_path: Path) -> None:
    one = learner(tmp_path)
    plateau = aside(tmp_path)
    plateau.keep(one, 15)
    assert list((tmp_path / "checkpoints").glob("*plateau*")) == []
    plateau.keep(one, 16)
    found = aside(tmp_path).read()
    assert found is not None
    assert found[1] == {}
    assert found[0].keys() == one.trained.keys()
    assert all(torch.equal(found[0][name], tensor) for name, tensor in one.trained.items())


def test_one_that_is_gone_or_damaged_is_noticed_when_the_run_goes_on(tmp_path: Path) -> None:
    plateau = aside(tmp_path)
    plateau.check(15)  # not yet reached
    with pytest.raises(ValueError, match="the plateau of step 16 is gone"):
        plateau.check(16)
    plateau.keep(learner(tmp_path), 16)
    plateau.check(20)
    facts = tmp_path / "checkpoints/plateau.json"
    facts.write_text(json.dumps({"step": 16, "sha256": "0" * 64}))
    with pytest.raises(ValueError, match=r"wanted SHA-256 000000000000, found \w{12}; remove the folder"):
        plateau.check(16)


def test_a_schedule_without_a_plateau_keeps_and_asks_for_nothing(tmp_path: Path) -> None:
    plateau = aside(tmp_path, Constant())
    for step in range(1, 21):
        plateau.keep(learner(tmp_path), step) if step == 20 else None
        plateau.check(step)
    assert plateau.read() is None
    assert not plateau.continued
    assert plateau.start(tmp_path / "parent") == tmp_path / "parent"


def test_a_state_without_a_plateau_is_no_beginning(tmp_path: Path) -> None:
    state = TrainingState(digest="no state")
    plateau = Plateau(tiny_workspace(tmp_path), Infinite(), 20, state, Checkpoints(tmp_path / "checkpoints", "a run"))
    assert not plateau.continued
    assert plateau.start(tmp_path / "parent") == tmp_path / "parent"
