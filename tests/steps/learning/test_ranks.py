import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from steps.core.artifacts import Trained
from steps.train import train
from tests.ranks import on_ranks
from tests.tiny_models import STATE, parent_model, rows_of, tiny_workspace, training_set, validation_items
from tests.training import section

CASES: dict[str, dict[str, Any]] = {
    "full": {"params": {"method": "full"}},
    "lora": {"params": {"method": "lora", "rank": 4, "alpha": 8}},
}
STEPS, PER_STEP = 8, 3  # two blocks for one process, one for the other


def inputs(root: Path) -> list[Any]:
    """What training reads, on disk: several processes must not write it at once."""
    workspace = tiny_workspace(root)
    return [parent_model(workspace), STATE, training_set(workspace, STEPS, PER_STEP), validation_items(workspace)]


def trains(rank: int, number: int, root: Path, given: dict[str, list[Any]]) -> dict[str, Trained]:
    """Every case in a workspace of its own, by one process of several or by one alone."""
    made = {}
    for name, artifacts in given.items():
        workspace = dataclasses.replace(tiny_workspace(root / name), rank=rank, num_ranks=number)
        made[name] = train(workspace, section(**CASES[name]), *artifacts)
    return made


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, dict[str, Trained]]]:
    root = tmp_path_factory.mktemp("ranks")
    given = {number: {name: inputs(root / str(number) / name) for name in CASES} for number in (1, 2)}
    two = on_ranks(2, root, trains, root / "2", given[2])
    assert two[0] == two[1]
    return root, {1: trains(0, 1, root / "1", given[1]), 2: two[0]}


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_like_one(both: Any, name: str) -> None:
    root, made = both
    rows = {number: rows_of(root / str(number) / name / made[number][name].history) for number in (1, 2)}
    assert len(rows[2]) == STEPS + 1
    for one, two in zip(rows[1], rows[2], strict=True):
        assert one == pytest.approx(two, rel=1e-4)
    tensors = {n: load_file(root / str(n) / name / made[n][name].model.path / "model.safetensors") for n in (1, 2)}
    assert tensors[1].keys() == tensors[2].keys()
    for key, tensor in tensors[1].items():
        assert torch.allclose(tensor, tensors[2][key], atol=1e-4, rtol=0), key
