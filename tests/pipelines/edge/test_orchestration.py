"""A score under Prefect: its state is named after the verdict, an error stays an error."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
from pathlib import Path
import sys
from pipelines.edge.orchestration import as_task, flow, prepare_environment
prepare_environment(Path(sys.argv[1]))
from pipelines.edge.outcome import Outcome

class Do:
    prefect, title = True, "test refresh"

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
from prefect import get_client
with get_client(sync_client=True) as client:
    runs = client.read_flow_runs()
    print(sorted((run.state.type.value, run.state.name) for run in runs))
    print(sorted(run.name for run in client.read_task_runs()))
"""


@pytest.mark.pipeline
def test_a_rejected_refresh_completes_and_a_broken_one_fails(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["[('COMPLETED', 'Rejected'), ('FAILED', 'Failed')]", "['train', 'train']"]
