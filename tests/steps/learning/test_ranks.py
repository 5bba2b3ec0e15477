import dataclasses
import os
import signal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from steps.core.artifacts import Trained
from steps.core.method import load_method, method_names
from steps.core.training_state import describe_state, write_kept
from steps.learning.ranks import Ranks, alone, together
from steps.train import train
from tests.ranks import on_ranks
from tests.tiny_models import STATE, parent_model, rows_of, tiny_workspace, training_set, validation_items
from tests.training import section


class Case(NamedTuple):
    """A run that is made by two processes and by one; the second of two, or the only one, may be told to stop."""

    knobs: dict[str, Any]
    blocks_per_step: int = 2
    stopped: int | None = None  # the number of processes; the other number goes on
    kept: dict[str, dict[str, torch.Tensor]] | None = None  # by the refresh before, by its file


STEPS, STOP_AFTER = 4, 2
LORA = {"params": {"method": "lora", "rank": 4, "alpha": 8}}
CASES = {
    "full": Case({}),
    "lora": Case(LORA),
    "one block more": Case({"validate_steps": 2}, blocks_per_step=3),
    "a process without a block": Case({}, blocks_per_step=1),
    "two stopped, one goes on": Case(LORA, blocks_per_step=3, stopped=2),
    "one stopped, two go on": Case({}, blocks_per_step=3, stopped=1),
}
EWC = {"method": "ewc", "weight": 1e3}
TEACHERS = [
    {"method": "weighted", "sources": {"new": 2.0}, "balance": "kinds"},
    "threshold-margin",
    "feature-distill",
    {"method": "logit-distill", "top_k": 9},
]
MEMORIES = {
    "params": {"method": "layers", "forgetting_prone": 0.5, "window_steps": 1},
    "objective": ["next-token", {"method": "anchor", "weight": 0.1}, EWC],
    "optimizer": {"method": "ema", "slow_weight": 0.5, "epsilon": 1e-6},
}
INTERVALS = {
    "params": {"method": "half"},
    "optimizer": {"method": "meta-replay", "interpolation": 0.5, "interval_steps": 3, "epsilon": 1e-6},
}
OLD_LAYER = "model.layers.0.self_attn.q_proj"
OLD_ROWS = {
    "params-orthogonal-lora.safetensors": {f"{OLD_LAYER}/A": torch.eye(3, 64), f"{OLD_LAYER}/B": torch.eye(64, 3)}
}
METHODS = {
    "teachers": Case({"objective": TEACHERS}, blocks_per_step=3),
    "a parent for all blocks": Case(LORA | {"objective": "anchored-sft"}),
    "memories, two stopped": Case(MEMORIES, stopped=2),
    "memories, one stopped": Case(MEMORIES, stopped=1),
    "intervals": Case(INTERVALS, stopped=1),
    "old rows": Case({"params": {"method": "orthogonal-lora", "rank": 4, "size_weight": 0.01}}, kept=OLD_ROWS),
    "a plateau": Case({"schedule": {"method": "infinite"}}),
    "layers computed again": Case(LORA | {"gradient_checkpointing": True}, blocks_per_step=3),
}
ADAM = {"method": "adamw", "epsilon": 1e-6}  # below, a gradient that is all rounding error moves a weight by the rate


def inputs(root: Path, case: Case) -> list[Any]:
    """What training reads, on disk: several processes must not write it at once."""
    workspace = tiny_workspace(root)
    blocks = training_set(workspace, STEPS, case.blocks_per_step)
    settings = section(**{"optimizer": ADAM, **case.knobs})
    write_kept(root / "kept", case.kept or {})
    state = describe_state(workspace, root / "kept", STATE)
    return [settings, parent_model(workspace), state, blocks, validation_items(workspace)]


def trains(rank: int, number: int, root: Path, given: dict[str, list[Any]], stops: list[str]) -> dict[str, Any]:
    """Every case in a workspace of its own, by one process of several or by one alone; some are stopped."""
    made: dict[str, Any] = {}
    for name, artifacts in given.items():
        stop_after = STOP_AFTER if name in stops and rank == number - 1 else None

        def progress(done: int, total: int, what: str, stop_after: int | None = stop_after) -> None:
            if done == stop_after:
                os.kill(os.getpid(), signal.SIGTERM)

        workspace = dataclasses.replace(tiny_workspace(root / name), rank=rank, num_ranks=number, progress=progress)
        try:
            made[name] = train(workspace, *artifacts)
        except KeyboardInterrupt as stopped:
            made[name] = str(stopped)
    return made


class Compared(NamedTuple):
    """Runs of the same cases by one process and by two."""

    root: Path
    one: dict[str, Trained]
    two: dict[str, list[Trained]]
    stopped: dict[str, list[str]]

    def tensors(self, name: str, number: int) -> dict[str, torch.Tensor]:
        """The released weights."""
        return load_file(self.root / str(number) / name / self.one[name].model.path / "model.safetensors")

    def rows(self, name: str, number: int) -> list[dict[str, float]]:
        """The history."""
        return rows_of(self.root / str(number) / name / self.one[name].history)


def compared(root: Path, cases: dict[str, Case]) -> Compared:
    given = {n: {name: inputs(root / str(n) / name, case) for name, case in cases.items()} for n in (1, 2)}
    stops = {n: [name for name, case in cases.items() if case.stopped == n] for n in (1, 2)}
    first = trains(0, 1, root / "2", {name: given[2][name] for name in stops[1]}, stops[1])
    made = on_ranks(2, root, trains, root / "2", given[2], stops[2])
    stopped = {name: [told] for name, told in first.items()} | {name: [r.pop(name) for r in made] for name in stops[2]}
    made.append(trains(0, 1, root / "2", {name: given[2][name] for name in stops[2]}, []))
    two = {name: [each[name] for each in made if name in each] for name in cases}
    return Compared(root, trains(0, 1, root / "1", given[1], []), two, stopped)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    return compared(tmp_path_factory.mktemp("ranks"), CASES)


@pytest.fixture(scope="module")
def both_of_methods(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    return compared(tmp_path_factory.mktemp("methods"), METHODS)


def trained_alike(found: Compared, name: str) -> None:
    one, two = found.one[name], found.two[name]
    assert all(each == two[0] for each in two)
    assert two[0].achieved == one.achieved
    assert len(found.rows(name, 2)) == STEPS + 1
    for of_one, of_two in zip(found.rows(name, 1), found.rows(name, 2), strict=True):
        assert of_one == pytest.approx(of_two, rel=1e-4)
    expected, tensors = found.tensors(name, 1), found.tensors(name, 2)
    assert expected.keys() == tensors.keys()
    for key, tensor in expected.items():
        assert torch.allclose(tensor, tensors[key], atol=1e-4, rtol=0), key


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_like_one(both: Compared, name: str) -> None:
    trained_alike(both, name)


def test_all_stop_after_the_step_in_which_one_was_told_to(both: Compared) -> None:
    assert both.stopped["two stopped, one goes on"] == ["stopped after step 2 of 4; run again to go on"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_two_processes_train_like_one_by_every_method_that_says_so(both_of_methods: Compared, name: str) -> None:
    trained_alike(both_of_methods, name)


def test_what_says_that_it_works_on_several_processes_is_tried_there() -> None:
    said, tried = set(), set()
    for slot in ("params", "objective", "optimizer"):
        said |= {(slot, name) for name in method_names(slot) if load_method(slot, name).sharded}  # type: ignore[attr-defined]
    for case in (CASES | METHODS).values():
        knobs = section(**{"optimizer": ADAM, **case.knobs})
        tried |= {("params", knobs.params.method_name()), ("optimizer", knobs.optimizer.method_name())}
        tried |= {("objective", one.method_name()) for one in knobs.objective}
    assert said == tried


def test_a_method_that_needs_the_whole_network_is_refused(tmp_path: Path) -> None:
    knobs = section(params={"method": "magnitude"}, optimizer=ADAM)
    workspace = dataclasses.replace(tiny_workspace(tmp_path), num_ranks=2)
    with pytest.raises(ValueError, match=r"2 processes, but params: magnitude works in one only; set `training:"):
        together(workspace, knobs.params, knobs.objective, knobs.optimizer)


def test_the_slow_memory_as_a_teacher_is_refused() -> None:
    knobs = section(objective=["next-token", {"method": "logit-distill", "teacher": "slow"}], optimizer="ema")
    assert alone(knobs.params, knobs.objective, knobs.optimizer) == ["objective: logit-distill with teacher: slow"]


def test_one_process_shares_nothing() -> None:
    ranks = Ranks(0, 1)
    tensor = torch.ones(2)
    assert ranks.full(tensor) is tensor
    assert ranks.spread(str, [1, 2, 3]) == ["1", "2", "3"]
    assert ranks.totals({"a": 1.5}, {}) == ({"a": 1.5}, {})
    assert ranks.any(True)


def shares(rank: int, number: int) -> dict[str, Any]:
    ranks = Ranks(rank, number)
    return {
        "totals": ranks.totals({"both": rank + 1.0, f"only {rank}": 5.0}),
        "spread": ranks.spread(lambda job: (job, rank), [10, 20, 30]),
        "none": ranks.spread(str, []),
        "any": [ranks.any(rank == 1), ranks.any(False)],
        "agreed": ranks.agreed(f"of {rank}"),
    }


def test_what_two_processes_have_comes_together(tmp_path: Path) -> None:
    one, two = on_ranks(2, tmp_path, shares)
    assert one == two
    assert one["totals"] == ({"both": 3.0, "only 0": 5.0, "only 1": 5.0},)
    assert one["spread"] == [(10, 0), (20, 1), (30, 0)]
    assert one["none"] == []
    assert one["any"] == [True, False]
    assert one["agreed"] == "of 0"
