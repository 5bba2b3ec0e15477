"""A score under Prefect: its state is named after the verdict, an error stays an error, a dead server stops nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import prefect_server, running, until

BEGIN = """
import contextlib, os, sys, time
from pathlib import Path
from pipelines.edge import orchestration
from pipelines.edge.orchestration import as_task, final_state, flow, prepare_environment, present_run
prepare_environment(Path(sys.argv[1]))
from pipelines.edge.outcome import Outcome

class Do:
    prefect, title = True, "test refresh"

    def claim(self, flow_run):
        return contextlib.nullcontext()

def runs():
    from prefect import get_client
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs()
        print(sorted((run.name, run.state.type.value, run.state.name) for run in found))
        print(sorted(run.name for run in client.read_task_runs()))
"""

VERDICTS = """
@flow(name="refresh")
def rejected(do):
    assert as_task("train", "train", lambda: 3, prefect=True) == 3
    return Outcome(kind="rejected", reasons=("forgot too much",))

@flow(name="refresh")
def broken(do):
    return as_task("train", "train", lambda: 1 / 0, prefect=True)

assert rejected(Do()).kind == "rejected"
try:
    broken(Do())
except ZeroDivisionError:
    pass

import prefect
@prefect.flow(flow_run_name="of a deployment")
def outer():
    assert present_run()
    return final_state(rejected(Do()))
outer(return_state=True)
assert present_run() is None
runs()
"""

KILLED = """
import signal
KILLED = int(sys.argv[2])
orchestration.PATIENCE_SECONDS = 2.0

def kill():
    os.kill(KILLED, signal.SIGKILL)
    return "killed"

@flow(name="refresh")
def refresh(do):
    made = [as_task("mix", "mix", lambda: "mixed", prefect=True), as_task("train", "train", kill, prefect=True)]
    made.append(as_task("gate", "gate", lambda: "judged", prefect=True))
    try:
        as_task("replay", "replay", lambda: 1 / 0, prefect=True)
    except ZeroDivisionError:
        made.append("an error stays an error")
    return Outcome(kind="accepted", reasons=tuple(made))

@flow(name="refresh")
def late(do):
    return Outcome(kind="accepted", reasons=(as_task("mix", "mix", lambda: "without Prefect", prefect=True),))

@flow(name="refresh")
def broken(do):
    raise ValueError("of its own")

print(*refresh(Do()).reasons, sep="; ")
print(*late(Do()).reasons)
try:
    broken(Do())
except ValueError as error:
    print(error)
"""

RESTARTED = """
@flow(name="refresh")
def refresh(do):
    Path(sys.argv[1], "under-way").touch()
    while not Path(sys.argv[1], "killed").exists():
        time.sleep(0.05)
    return Outcome(kind="undecided")

print(refresh(Do()).kind)
runs()
"""


def ran(script: str, *words: str, **environment: str) -> list[str]:
    """What a script prints, a line each."""
    command = [sys.executable, "-c", BEGIN + script, *words]
    inherited = {name: value for name, value in os.environ.items() if name != "PREFECT_HOME"}  # another test's
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**inherited, **environment})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.mark.pipeline
def test_a_rejected_refresh_completes_a_broken_one_fails_and_a_deployments_run_is_not_nested(tmp_path: Path) -> None:
    deployed, rejected = "('of a deployment', 'COMPLETED', 'Rejected')", "('test refresh', 'COMPLETED', 'Rejected')"
    failed = "('test refresh', 'FAILED', 'Failed')"
    assert ran(VERDICTS, str(tmp_path)) == [f"[{deployed}, {rejected}, {failed}]", "['train', 'train', 'train']"]


@pytest.mark.slow
def test_a_refresh_goes_on_without_the_server_that_was_killed_under_it(tmp_path: Path) -> None:
    with running(prefect_server(tmp_path / "server")) as server:
        assert server.process
        told = ran(KILLED, str(tmp_path / "work"), str(server.process.pid), PREFECT_API_URL=f"{server.address}/api")
    assert told == ["mixed; killed; judged; an error stays an error", "without Prefect", "of its own"]


@pytest.mark.slow
def test_the_final_state_is_set_once_the_server_is_back(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with running(prefect_server(tmp_path / "server")) as server, (tmp_path / "told").open("wb") as told:
        command = [sys.executable, "-c", BEGIN + RESTARTED, str(work)]
        environment = {**os.environ, "PREFECT_API_URL": f"{server.address}/api"}
        process = subprocess.Popen(command, stdout=told, stderr=subprocess.DEVNULL, env=environment)
        until((work / "under-way").exists, "the flow is under way")
        server.end()
        (work / "killed").touch()
        server.start()
        assert process.wait(120) == 0
    lines = (tmp_path / "told").read_text().splitlines()
    assert lines == ["undecided", "[('test refresh', 'COMPLETED', 'Undecided')]", "[]"]
