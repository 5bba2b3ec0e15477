import dataclasses
import os
import signal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from steps.core.artifacts import Trained
from steps.train import train
from tests.ranks import on_ranks
from tests.tiny_models import STATE, parent_model, rows_of, tiny_workspace, training_set, validation_items
from tests.training import section


class Case(NamedTuple):
    """A run that is made by two processes and by one."""

    knobs: dict[str, Any]
    blocks_per_step: int = 2
    stop_after: int | None = None  # the second process is told to stop


STEPS = 4
TEACHERS = [
    {"method": "weighted", "sources": {"new": 2.0}, "balance": "kinds"},
    "threshold-margin",
    "feature-distill",
    {"method": "logit-distill", "top_k": 9},
]
LORA = {"params": {"method": "lora", "rank": 4, "alpha": 8}}
CASES = {
    "full": Case({}),
    "lora": Case(LORA),
    "one block more": Case({"validate_steps": 2}, blocks_per_step=3),
    "a process without a block": Case({}, blocks_per_step=1),
    "teachers": Case({"objective": TEACHERS}, blocks_per_step=3),
    "a parent for all blocks": Case(LORA | {"objective": "anchored-sft"}),
    "stopped": Case(LORA, blocks_per_step=3, stop_after=2),
}
ADAM = {"method": "adamw", "epsilon": 1e-6}  # below, a gradient that is all rounding error moves a weight by the rate


def inputs(root: Path, case: Case) -> list[Any]:
    """What training reads, on disk: several processes must not write it at once."""
    workspace = tiny_workspace(root)
    blocks = training_set(workspace, STEPS, case.blocks_per_step)
    return [section(optimizer=ADAM, **case.knobs), parent_model(workspace), STATE, blocks, validation_items(workspace)]


def trains(rank: int, number: int, root: Path, given: dict[str, list[Any]]) -> dict[str, Trained | str]:
    """Every case in a workspace of its own, by one process of several or by one alone."""
    made: dict[str, Trained | str] = {}
    for name, artifacts in given.items():
        stop_after = CASES[name].stop_after if number > 1 else None

        def progress(done: int, total: int, what: str, stop_after: int | None = stop_after) -> None:
            if done == stop_after and rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)

        workspace = dataclasses.replace(tiny_workspace(root / name), rank=rank, num_ranks=number, progress=progress)
        try:
            made[name] = train(workspace, *artifacts)
        except KeyboardInterrupt as stopped:
            made[name] = str(stopped)
    return made


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("ranks")
    given = {n: {name: inputs(root / str(n) / name, case) for name, case in CASES.items()} for n in (1, 2)}
    made = on_ranks(2, root, trains, root / "2", given[2])
    stopped = [each.pop("stopped") for each in made]
    made.append(trains(0, 1, root / "2", {"stopped": given[2]["stopped"]}))  # and one goes on from there
    return root, stopped, trains(0, 1, root / "1", given[1]), made


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_like_one(both: Any, name: str) -> None:
    root, _, alone, together = both
    one, others = alone[name], [made[name] for made in together if name in made]
    assert all(other == others[0] for other in others)
    rows = [rows_of(root / number / name / "data/train/history.jsonl") for number in "12"]
    assert len(rows[1]) == STEPS + 1
    for of_one, of_two in zip(*rows, strict=True):
        assert of_one == pytest.approx(of_two, rel=1e-4)
    tensors = [load_file(root / number / name / one.model.path / "model.safetensors") for number in "12"]
    assert tensors[0].keys() == tensors[1].keys()
    for key, tensor in tensors[0].items():
        assert torch.allclose(tensor, tensors[1][key], atol=1e-4, rtol=0), key
    assert others[0].achieved == one.achieved


def test_all_stop_after_the_step_in_which_one_was_told_to(both: Any) -> None:
    _, stopped, *_ = both
    assert stopped == ["stopped after step 2 of 4; run again to go on"] * 2
