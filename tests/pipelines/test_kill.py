"""SIGKILL at any stage: the next run resumes, and ends with the same weights, bit for bit, as one never killed."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.edge.home import Home
from pipelines.edge.outcome import Outcome
from pipelines.edge.registry import Registry
from pipelines.edge.steps import WORDS
from tests.workspaces import run, workspace

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(900)]
SHORT = ("train", "conclude")  # what `make test` kills; `make test-all` kills every stage in turn
MAIN = "from pipelines.cli import main; main()"


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Outcome]:
    """The weights and the outcome of a refresh that nobody killed."""
    home = workspace(tmp_path_factory.mktemp("unharmed"), documents=60)
    outcome = run(home)
    return Registry(home).get("1").tags["perennial.weights"], outcome


def start(home: Home, *words: str) -> subprocess.Popen[bytes]:
    """Start a command; what it tells goes into a file, because a pipe would outlive a killed process."""
    command = [sys.executable, "-c", MAIN, "-w", str(home.root), *words]
    home.hidden.mkdir(exist_ok=True)
    with (home.hidden / "told").open("wb") as told:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=told)


def told(home: Home) -> str:
    return (home.hidden / "told").read_text(encoding="utf-8", errors="replace")[-3000:]


def finish(home: Home, *words: str) -> None:
    assert start(home, *words).wait(240) == 0, f"{words}: {told(home)}"


def kill_once(home: Home, under_way: Callable[[], bool], *words: str) -> bool:
    """Start a command and kill it as soon as it is under way; False if it ended before."""
    process = start(home, *words)
    while process.poll() is None:
        if under_way():
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.002)
    assert process.returncode == 0, told(home)
    return False


def begun(home: Home, stage: str) -> Callable[[], bool]:
    """Whether a stage is between its start and its end."""
    data = home.root / "data"
    if stage == "inputs":
        return lambda: any(data.glob(".inputs.json*")) or (data / "inputs.json").exists()
    if stage == "train":
        return lambda: any((data / "train" / "checkpoints").glob("step-*"))
    if stage == "conclude":
        return lambda: any((home.hidden / "staging").glob("*")) or any(home.hidden.glob("mlflow/models/*/artifacts"))
    folders = {"ingest": "ingest/statements", "evaluate": "evaluate"}
    place = data / folders.get(stage, stage)
    return lambda: place.is_dir() and not (place / "record.json").exists()


def same_as(unharmed: tuple[str, Outcome], home: Home) -> None:
    weights, outcome = unharmed
    registry = Registry(home)
    assert [version.number for version in registry.versions()] == ["1"], "registered once"
    assert registry.get("1").tags["perennial.weights"] == weights
    assert registry.champion() == outcome.version
    verdicts = [event for event in home.ledger() if event["event"] == "verdict"]
    assert [event["verdict"] for event in verdicts] == [outcome.kind], "judged once"
    counted = [
        {key: row[key] for key in ("task", "landed", "kept", "held_out", "superseded", "achieved_tokens")}
        for row in verdicts[0]["outcome"]["rows"]
    ]
    assert counted == [row.model_dump(include=set(counted[0])) for row in outcome.rows], "no record lost or taken twice"


def in_turn(home: Home, killed: tuple[str, ...]) -> list[str]:
    """Make every stage by `perennial step`, killing some first; returns those that were hit."""
    hit = []
    for stage in WORDS:
        words = ("step", stage, "--recipe", "tiny") if stage == "inputs" else ("step", stage)
        if stage in killed and kill_once(home, begun(home, stage), *words):
            hit.append(stage)
        finish(home, *words)
    return hit


def test_killed_in_the_middle_of_training_and_of_registering(unharmed: tuple[str, Outcome], tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=60)
    for stage in SHORT:
        assert kill_once(home, begun(home, stage), "refresh", "tiny"), f"{stage} ended before it could be killed"
    finish(home, "refresh", "tiny")
    same_as(unharmed, home)


@pytest.mark.slow
def test_killed_in_each_stage_in_turn(unharmed: tuple[str, Outcome], tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=60)
    hit = in_turn(home, WORDS)
    assert {"ingest", "train", "evaluate", "conclude"} <= set(hit), f"too few stages could be hit: {hit}"
    same_as(unharmed, home)


def test_two_refreshes_at_once_the_second_is_refused_clearly(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=60)
    with home.lock():
        assert start(home, "refresh", "tiny").wait(120) == 1
    assert "busy, held by process" in told(home)
