"""Which process runs which Prefect flow run, so that the runs of dead processes can be ended in both user interfaces.

Prefect leaves a run RUNNING for ever if its process and its runner die together, and MLflow every run of a process
that was killed. A claim is a file that names the process; a claim whose process is gone is a dead run.
"""

import contextlib
import json
import logging
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from pipelines.edge.attempts import lives, running
from pipelines.edge.home import Home
from steps.core.shards import write_json

logger = logging.getLogger(__name__)
UNCLAIMED = timedelta(minutes=5)  # a run of our deployment that nobody has claimed for so long never began


@contextlib.contextmanager
def claim(home: Home, flow_run_id: str) -> Iterator[None]:
    """Own a Prefect flow run while it runs in this process."""
    process = psutil.Process()
    file = _folder(home) / f"{flow_run_id}.json"
    write_json(file, {"pid": process.pid, "created": process.create_time(), "host": socket.gethostname()})
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _folder(home: Home) -> Path:
    return home.hidden / "service" / "flows"


def claims(home: Home) -> dict[str, bool]:
    """Flow runs that were claimed and not given back: id -> whether its process lives."""
    found = {}
    for file in sorted(_folder(home).glob("*.json")):
        try:
            owner = json.loads(file.read_text(encoding="utf-8"))
            found[file.stem] = lives(home, owner)
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            found[file.stem] = False
    return found


def end_dead_flow_runs(home: Home, deployment: str | None = None) -> list[str]:
    """Set the flow runs of dead processes Crashed; returns their ids. Needs a server (`PREFECT_API_URL`).

    Args:
        home: the workspace.
        deployment: the id of its deployment; its runs that no process claims, after some minutes, are dead as well.
    """
    if not os.environ.get("PREFECT_API_URL"):
        return []
    from prefect.client.orchestration import get_client

    known, ended = claims(home), []
    with get_client(sync_client=True) as client:
        for flow_run in [run for run, lives in known.items() if not lives]:
            if _crash(client, flow_run):
                ended.append(flow_run)
            (_folder(home) / f"{flow_run}.json").unlink(missing_ok=True)
        unclaimed = [str(run.id) for run in _unclaimed(client, deployment, known)] if deployment else []
        ended += [flow_run for flow_run in unclaimed if _crash(client, flow_run)]
    return ended


def _unclaimed(client: Any, deployment: str, known: dict[str, bool]) -> list[Any]:
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterId,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType

    under_way = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING])
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=under_way)),
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
    )
    now = datetime.now(UTC)
    return [run for run in runs if str(run.id) not in known and now - run.state.timestamp > UNCLAIMED]


def _crash(client: Any, flow_run: str) -> bool:
    from uuid import UUID

    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    try:
        state = client.read_flow_run(UUID(flow_run)).state
    except (ObjectNotFound, ValueError):
        return False
    if state is not None and state.is_final():
        return False
    client.set_flow_run_state(UUID(flow_run), Crashed(message="its process died"), force=True)
    logger.warning("Prefect: run %s was left by a dead process; now Crashed", flow_run)
    return True


def end_dead_mlflow_runs(home: Home, *, alone: bool = True) -> list[str]:
    """End the MLflow runs that dead attempts left RUNNING: KILLED, or FINISHED if they were judged. Returns their ids.

    Args:
        home: the workspace.
        alone: its lock is held; else nothing is ended while an attempt is under way, for the runs may be its own.
    """
    import mlflow

    from pipelines.edge.registry import experiment_id

    found = mlflow.search_runs(
        [experiment_id(home)], filter_string="attributes.status = 'RUNNING'", output_format="list", max_results=1000
    )
    ours = [run for run in found if {"perennial.attempt", "perennial.stage"} & set(run.data.tags)]
    if not ours or (not alone and running(home)):
        return []
    judged = {event["attempt"] for event in home.ledger() if event["event"] == "verdict"}
    done = {run.info.run_id for run in ours if run.data.tags.get("perennial.attempt") in judged}
    client: Any = mlflow.MlflowClient()
    for run in ours:
        well = {run.info.run_id, run.data.tags.get("mlflow.parentRunId")} & done
        client.set_terminated(run.info.run_id, "FINISHED" if well else "KILLED")
    return [run.info.run_id for run in ours]
