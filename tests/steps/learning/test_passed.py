"""The models at a run's last checkpoints are those that shorter runs end with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from steps.core.models import digest_of_model, load_tokenizer
from steps.core.training_state import EMPTY
from steps.learning.passed import Keeping
from steps.train import train
from tests.tiny_models import parent_model, tiny_workspace, training_set, validation_items
from tests.training import Killed, dying, run, section

FLAT = {"schedule": {"method": "constant"}, "checkpoint_steps": 2, "keep_checkpoints": 2}
METHODS: list[dict[str, Any]] = [{"method": "full"}, {"method": "lora", "rank": 4, "alpha": 8}]


def test_the_last_checkpoints_before_the_end_are_kept() -> None:
    assert Keeping(checkpoint_steps=2, keep_checkpoints=2).kept_steps(8) == [4, 6]
    assert Keeping(checkpoint_steps=3, keep_checkpoints=9).kept_steps(8) == [3, 6]
    assert Keeping(checkpoint_steps=2).kept_steps(8) == []
    assert Keeping(checkpoint_steps=8, keep_checkpoints=1).kept_steps(8) == [], "the last step's is the trained model"


@pytest.mark.parametrize("params", METHODS)
def test_a_kept_model_is_the_release_of_a_run_that_ends_there(tmp_path: Path, params: dict[str, Any]) -> None:
    long, short = tiny_workspace(tmp_path / "long"), tiny_workspace(tmp_path / "short")
    kept = run(long, section(params=params, **FLAT), 8).checkpoints
    assert [model.path for model in kept] == ["data/train/passed/step-4", "data/train/passed/step-6"]
    blocks = training_set(short, 8).model_copy(update={"num_steps": 6})
    order = short.at(blocks.path) / "order.npy"
    np.save(order, np.load(order)[: 6 * 2])
    settings = section(params=params, **FLAT | {"keep_checkpoints": 0})
    ended = train(short, settings, parent_model(short), EMPTY, blocks, validation_items(short))
    assert kept[-1].digest == ended.model.digest
    assert load_tokenizer(long.at(kept[0].path))("a").input_ids


def test_nothing_else_is_left_and_nothing_is_kept_unasked(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    run(workspace, section(**FLAT, params=METHODS[1]))
    assert {path.name for path in (tmp_path / "data/train").iterdir()} == {
        "adapter",
        "history.jsonl",
        "model",
        "passed",
    }
    other = tiny_workspace(tmp_path / "other")
    plain = run(other, section(**FLAT | {"keep_checkpoints": 0}))
    assert plain.checkpoints == ()
    assert not (tmp_path / "other/data/train/passed").exists()


def test_a_run_that_was_stopped_keeps_the_same_models(tmp_path: Path) -> None:
    settings = section(**FLAT)
    straight, stopped = (tiny_workspace(tmp_path / name) for name in ("straight", "stopped"))
    whole = run(straight, settings)
    with pytest.raises(Killed):
        run(dying(tmp_path / "stopped", 5), settings)
    again = run(stopped, settings)
    assert again.checkpoints == whole.checkpoints
    assert again.digest == whole.digest
    assert [digest_of_model(stopped.at(model.path)) for model in again.checkpoints] == [
        model.digest for model in whole.checkpoints
    ]


def test_what_an_average_releases_is_what_is_kept(tmp_path: Path) -> None:
    """With a moving average of the weights the kept model is that average, as the trained model is."""
    found = []
    for name, optimizer in (("plain", {"method": "adamw"}), ("ema", {"method": "ema", "slow_weight": 0.5})):
        workspace = tiny_workspace(tmp_path / name)
        (*_, last) = run(workspace, section(**FLAT, optimizer=optimizer)).checkpoints
        found.append(load_file(workspace.at(last.path) / "model.safetensors")["model.norm.weight"])
    assert not torch.equal(*found)


def test_a_run_too_short_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = run(tiny_workspace(tmp_path), section(**FLAT | {"keep_checkpoints": 9}))
    assert len(made.checkpoints) == 3
    assert "wanted 9, a run of 8 steps passes 3; lower train.checkpoint_steps (2)" in caplog.text
