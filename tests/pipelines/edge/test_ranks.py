import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file, save_file

from pipelines.edge.ranks import FOLDER, _Heard, in_processes
from steps.core.artifacts import Trained
from steps.core.workspace import Workspace
from steps.train import train
from tests.tiny_models import STATE, Told, parent_model, rows_of, tiny_workspace, training_set, validation_items
from tests.training import section

STEPS = 4
Acts = Callable[[int], None]  # after a step, in the process that watches


def ranks_of(process: psutil.Process) -> dict[int, psutil.Process]:
    """The processes that train below one, by rank."""
    found = [child for child in process.children(recursive=True) if "RANK" in child.environ()]
    return {int(child.environ()["RANK"]): child for child in found}


def trained(
    root: Path, number: int, told: Told | None = None, acts: Acts = lambda done: None, num_steps: int = STEPS
) -> Trained:
    workspace = dataclasses.replace(tiny_workspace(root, told=told), progress=lambda done, total, what: acts(done))
    artifacts = (parent_model(workspace), STATE, training_set(workspace, num_steps), validation_items(workspace))
    made: Trained = in_processes(number, train, workspace, section(), artifacts)()
    return made


@pytest.mark.slow
def test_two_processes_make_what_one_makes_and_tell_of_it_once(tmp_path: Path) -> None:
    told = Told()
    one, two = trained(tmp_path / "1", 1), trained(tmp_path / "2", 2, told)
    rows = [rows_of(tmp_path / number / made.history) for number, made in (("1", one), ("2", two))]
    for of_one, of_two in zip(*rows, strict=True):
        assert of_one == pytest.approx(of_two, rel=1e-4)
    assert [step for step, _ in told.rows] == list(range(STEPS + 1))
    machine = {"train/tokens_per_second", "train/memory_mb"}  # the machine's, not the history's
    for row, (step, metrics) in zip(rows[1], told.rows, strict=True):
        assert row == {"step": step, **{name: value for name, value in metrics.items() if name not in machine}}
    assert not (tmp_path / "2/data/train" / FOLDER).exists()
    assert not ranks_of(psutil.Process())


@pytest.mark.slow
def test_a_stop_stops_all_and_the_next_run_goes_on(tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    many = 16  # enough for the signal to come before the last
    with pytest.raises(KeyboardInterrupt, match=r"stopped after step \d+ of 16; run again"):
        trained(tmp_path / "stopped", 2, acts=stop, num_steps=many)
    assert not ranks_of(psutil.Process())
    told = Told()
    resumed = trained(tmp_path / "stopped", 1, told, num_steps=many)
    straight = trained(tmp_path / "straight", 1, num_steps=many)
    assert sum("train/tokens_per_second" in metrics for _, metrics in told.rows) < many
    rows = [rows_of(tmp_path / name / made.history) for name, made in (("stopped", resumed), ("straight", straight))]
    for one, other in zip(*rows, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.slow
def test_a_process_that_dies_takes_the_others_along_and_is_named(tmp_path: Path) -> None:
    def kill(done: int) -> None:
        if done == 2:
            ranks_of(psutil.Process())[1].kill()

    with pytest.raises(RuntimeError, match=r"one of 2 processes died of SIGKILL; SIGKILL is mostly"):
        trained(tmp_path, 2, acts=kill)
    assert not ranks_of(psutil.Process())


@pytest.mark.slow
def test_the_error_of_a_process_is_raised_as_it_was(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    artifacts = (parent_model(workspace), STATE, training_set(workspace, STEPS), validation_items(workspace))
    path = tmp_path / "data/mix/streams/1.safetensors"
    tensors = load_file(path)
    tensors["input_ids"][1, 3] = 49_000
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"wanted tokens below 260, .* found .* 49,000; mix with this model") as caught:
        in_processes(2, train, workspace, section(), artifacts)()
    assert "of 2:\nTraceback" in caught.value.__notes__[0]


DIES = """
import os, signal, sys
from pathlib import Path
from tests.pipelines.edge.test_ranks import trained
trained(Path(sys.argv[1]), 2, acts=lambda done: os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.mark.slow
def test_nobody_is_left_where_the_session_was_killed(tmp_path: Path) -> None:
    before = set(psutil.pids())
    assert subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=False).returncode == -signal.SIGKILL
    left = [psutil.Process(pid) for pid in psutil.pids() if pid not in before]
    ours = [process for process in left if any(str(tmp_path) in word for word in _words(process))]
    _, alive = psutil.wait_procs(ours, timeout=30)
    assert not alive


def _words(process: psutil.Process) -> list[str]:
    try:
        found: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return found


def heard(*lines: dict[str, Any]) -> _Heard:
    found = _Heard(Workspace(Path(), Path(), seed=0), 2)
    for line in lines:
        found.take(json.dumps(line))
    return found


def error(kind: str, message: str, errno: int | None = None) -> dict[str, Any]:
    return {"kind": "error", "rank": 1, "type": kind, "message": message, "errno": errno, "trace": "Traceback"}


LOST = error("RuntimeError", "[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1")


@pytest.mark.parametrize("kind", [ValueError, MemoryError])
def test_the_first_error_is_the_cause(kind: type[Exception]) -> None:
    with pytest.raises(kind, match="too long"):
        heard(error(kind.__name__, "too long"), LOST).fail("", asked=False)


def test_a_full_disk_keeps_its_number() -> None:
    with pytest.raises(OSError, match="free disk space") as caught:
        heard(error("OSError", "x: cannot be written; free disk space", 28)).fail("", asked=False)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == 28


def test_what_follows_from_a_death_is_not_the_cause() -> None:
    with pytest.raises(RuntimeError, match="one of 2 processes died of SIGSEGV"):
        heard(LOST).fail("traceback : Signal 11 (SIGSEGV) received by PID 7", asked=False)


def test_another_error_has_its_name() -> None:
    with pytest.raises(RuntimeError, match="train: KeyError: 'x'"):
        heard(error("KeyError", "'x'"), LOST).fail("Signal 15 (SIGTERM) received by PID 7", asked=False)


def test_a_stop_before_training_began_is_a_stop() -> None:
    with pytest.raises(KeyboardInterrupt, match="before the first step"):
        heard(LOST).fail("Signal 15 (SIGTERM) received by PID 7", asked=True)


def test_an_end_without_a_word_shows_the_last_that_was_said() -> None:
    with pytest.raises(RuntimeError, match="2 processes ended without a word:\nno such module"):
        heard().fail("no such module", asked=False)


def test_what_is_no_message_is_passed_on_as_a_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        heard().take("a library says hello\n")
    assert "a library says hello" in caplog.text
