from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.tiny_models import Told, rows_of, tiny_workspace
from tests.training import run, section, weights


def test_the_update_norm_is_how_far_the_parameters_went(tmp_path: Path) -> None:
    """AdamW's first step is the rate for every parameter; the tied output layer has a gradient for every token."""
    workspace = tiny_workspace(tmp_path)
    settings = section(update_norm_steps=1, learning_rate=1e-3, schedule={"method": "constant"})
    trained = run(workspace, settings, 1)
    told = rows_of(workspace.at(trained.history))[1]["train/update_norm"]
    after, before = weights(workspace, trained), load_file(tmp_path / "parent/model.safetensors")
    assert told == pytest.approx(sum(float(((after[k] - before[k]) ** 2).sum()) for k in after) ** 0.5, rel=1e-5)
    assert told == pytest.approx(1e-3 * sum(tensor.numel() for tensor in after.values()) ** 0.5, rel=0.01)


def test_it_is_told_as_often_as_is_asked_and_changes_no_number(tmp_path: Path) -> None:
    rows = {}
    for steps in (0, 1, 3):
        workspace = tiny_workspace(tmp_path / str(steps))
        rows[steps] = rows_of(workspace.at(run(workspace, section(update_norm_steps=steps)).history))
    told = {steps: [row["step"] for row in found if "train/update_norm" in row] for steps, found in rows.items()}
    assert told == {0: [], 1: list(range(1, 9)), 3: [3, 6]}
    bare = [{name: value for name, value in row.items() if name != "train/update_norm"} for row in rows[1]]
    assert bare == rows[0]
    assert all(row["train/update_norm"] > 0 for row in rows[1][1:])


def test_the_memory_is_told_and_stays_out_of_the_history(tmp_path: Path) -> None:
    told = Told()
    workspace = tiny_workspace(tmp_path, told=told)
    history = rows_of(workspace.at(run(workspace, section(), 2).history))
    memory = [row["train/memory_mb"] for step, row in told.rows if step]
    assert len(memory) == 2
    assert all(100 < used < 100_000 for used in memory)  # torch alone takes more than the first
    assert not any("train/memory_mb" in row for row in history)
