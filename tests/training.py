"""What every method of the stage train is tried with: tiny runs, whole and stopped."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from steps.core.artifacts import Trained, TrainingState
from steps.core.workspace import Workspace
from steps.train import TrainConfig, train
from tests.tiny_models import STATE, Told, parent_model, rows_of, tiny_workspace, training_set, validation_items


class Killed(Exception):
    """Stands for the death of the process after a step."""


def section(**knobs: Any) -> TrainConfig:
    """The recipe's section `train`, with knobs of its own."""
    given = {"params": {"method": "full"}, "schedule": {"method": "rewarmed-cosine"}, "learning_rate": 1e-2}
    return TrainConfig.model_validate(given | {"checkpoint_steps": 2} | knobs)


def run(workspace: Workspace, settings: TrainConfig, num_steps: int = 8, state: TrainingState = STATE) -> Trained:
    """Train the tiny model; half of its blocks are replayed."""
    blocks = training_set(workspace, num_steps)
    return train(workspace, settings, parent_model(workspace), state, blocks, validation_items(workspace))


def weights(workspace: Workspace, trained: Trained) -> dict[str, torch.Tensor]:
    """The released weights."""
    return load_file(workspace.at(trained.model.path) / "model.safetensors")


def dying(root: Path, step: int, told: Told | None = None) -> Workspace:
    """A workspace in which the process dies after a step."""

    def progress(done: int, total: int, what: str) -> None:
        if done == step:
            raise Killed

    kept = tiny_workspace(root, told=told)
    return Workspace(root, kept.path, kept.seed, report=kept.report, progress=progress)


def ends_like_one_never_stopped(root: Path, settings: TrainConfig, num_steps: int = 20, state: Any = None) -> Trained:
    """Train once whole, and once stopped after step 13 and resumed: same losses, norms and weights, to the bit.

    `state`: makes the training state of a workspace; none: the first refresh's. Returns the whole run's artifact.
    """
    settings = settings.model_copy(update={"checkpoint_steps": 5})
    states = {}
    for name in ("straight", "stopped"):
        workspace = tiny_workspace(root / name)
        states[name] = state(workspace) if state else STATE
    straight = tiny_workspace(root / "straight")
    whole = run(straight, settings, num_steps, states["straight"])
    try:
        run(dying(root / "stopped", 13), settings, num_steps, states["stopped"])
    except Killed:
        resumed_at = tiny_workspace(root / "stopped")
        resumed = run(resumed_at, settings, num_steps, states["stopped"])
    else:
        raise AssertionError("it was not stopped")
    assert rows_of(straight.at(whole.history)) == rows_of(resumed_at.at(resumed.history))
    expected, found = weights(straight, whole), weights(resumed_at, resumed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert resumed.digest == whole.digest
    parent = load_file(straight.root / "parent/model.safetensors")
    assert any(not torch.equal(parent[name], tensor) for name, tensor in expected.items()), "nothing was trained"
    return whole
