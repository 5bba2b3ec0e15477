"""Whole refreshes whose training runs in two processes."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines.edge.home import Home
from pipelines.edge.outcome import Outcome
from pipelines.edge.registry import Registry
from pipelines.edge.session import Record
from pipelines.edge.steps import run_step
from steps.core.shards import read_lines
from tests.workspaces import run, workspace

pytestmark = pytest.mark.pipeline


def refreshed(folder: Path, processes: int) -> tuple[Home, Outcome]:
    home = workspace(folder)
    with (folder / "perennial.yaml").open("a", encoding="utf-8") as file:
        file.write(f"training: {{processes: {processes}}}\n")
    return home, run(home)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A refresh by one process and by two."""
    root = tmp_path_factory.mktemp("processes")
    return {number: refreshed(root / name, number) for number, name in ((1, "one"), (2, "two"))}


def record_of(home: Home) -> Record:
    return Record.model_validate_json((home.root / "data/train/record.json").read_text(encoding="utf-8"))


def told(home: Home) -> list[dict[str, float]]:
    return list(read_lines(home.root / "data/train/history.jsonl"))


def test_two_processes_give_the_losses_of_one_and_the_same_verdict(both: Any) -> None:
    (one, first), (two, second) = both[1], both[2]
    assert first.kind == second.kind == "accepted"
    assert len(told(one)) == len(told(two)) > 10
    for of_one, of_two in zip(told(one), told(two), strict=True):
        losses = {name for name in of_one if "loss" in name or "validation" in name}
        assert losses
        assert {name: of_one[name] for name in losses} == pytest.approx({n: of_two[n] for n in losses}, rel=1e-4)
    assert not list((two.root / "data/train").glob(".ranks"))


def test_where_it_ran_is_no_part_of_what_it_is(both: Any) -> None:
    one, two = record_of(both[1][0]), record_of(both[2][0])
    assert one.fingerprint == two.fingerprint
    assert one.artifact["achieved"] == two.artifact["achieved"]


def test_every_metric_of_training_is_in_mlflow_once(both: Any) -> None:
    home = both[2][0]
    client = Registry(home).client
    (version,) = Registry(home).versions()
    history = client.get_metric_history(version.tags["perennial.run"], "train/loss_nats_per_token")
    steps = Counter(metric.step for metric in history)
    assert steps == {int(row["step"]): 1 for row in told(home) if "train/loss_nats_per_token" in row}


def test_a_step_by_hand_trains_in_two_processes_too_and_makes_the_same_bytes(both: Any) -> None:
    home = both[2][0]
    before = record_of(home)
    (home.root / "data/train/record.json").unlink()
    done: list[int] = []
    said = run_step(home, "train", None, None, lambda stage, step, total, what: done.append(step))
    assert said == "train: made"
    assert max(done) == len(told(home)) - 1
    assert record_of(home) == before
