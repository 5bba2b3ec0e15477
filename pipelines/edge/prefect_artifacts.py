"""What a person sees of a refresh in Prefect's UI: progress, the report, its table, a link to MLflow.

Nothing here may break a refresh: outside a flow run it does nothing, and a server that is gone is told of once.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines.edge.orchestration import present_run

logger = logging.getLogger(__name__)
Progress = Callable[[int, int, str], None]  # done, total, what is counted
PAUSE_SECONDS = 1.0  # between two updates of a bar
TIMEOUT_SECONDS = 5.0


def run_page() -> str | None:
    """The address of the present flow run in Prefect's UI; none outside one, or where the server ends with it."""
    from prefect.utilities.urls import url_for

    run = present_run()
    return url_for("flow-run", run) if run else None


def with_bar(stage: str, told: Progress) -> Progress:
    """Progress of a stage, told on and shown as a bar in Prefect's UI at most once a second."""
    bar = Bar(stage)

    def both(done: int, total: int, what: str) -> None:
        told(done, total, what)
        bar.show(done, total, what)

    return both


class Bar:
    """One progress artifact of the present flow run; it gives up at the first error."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self._artifact: Any = None
        self._shown = -PAUSE_SECONDS
        self._gone = False

    def show(self, done: int, total: int, what: str) -> None:
        """Show so many of so many, unless the last update was just now."""
        now, ended = time.monotonic(), total > 0 and done >= total
        if self._gone or total <= 0 or not (ended or now - self._shown >= PAUSE_SECONDS) or present_run() is None:
            return
        self._shown = now
        percent = 100.0 * min(done, total) / total
        try:
            with _client() as client:
                if self._artifact is None:
                    text = f"{self.stage}: {total:,} {what}"
                    self._artifact = _create(client, "progress", f"{self.stage}-progress", percent, text, of_task=True)
                else:
                    from prefect.client.schemas.actions import ArtifactUpdate

                    client.update_artifact(self._artifact, ArtifactUpdate(data=percent))
        except Exception as error:  # noqa: BLE001  see the module
            self._gone = True
            logger.warning("%s: its progress is no longer shown in Prefect: %r", self.stage, error)


def post_report(
    text: str, tables: Mapping[str, Sequence[Mapping[str, Any]]], title: str, mlflow_page: str | None
) -> None:
    """Show a refresh's report and its tables in its flow run, with a link to its MLflow run."""
    import json

    if present_run() is None:
        return
    try:
        with _client() as client:
            _create(client, "markdown", "refresh-report", text, title)
            for key, rows in tables.items():
                if rows:
                    _create(client, "table", key, json.dumps(list(rows)), title)
            if mlflow_page:
                _create(client, "markdown", "mlflow-run", f"[{mlflow_page}]({mlflow_page})", f"{title}: its MLflow run")
    except Exception as error:  # noqa: BLE001  see the module
        logger.warning("%s: its report could not be shown in Prefect: %r", title, error)


def _client() -> Any:
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True, httpx_settings={"timeout": TIMEOUT_SECONDS})


def _create(client: Any, kind: str, key: str, content: Any, text: str, *, of_task: bool = False) -> Any:
    """Make an artifact of the present flow run, or of the task run within it."""
    from prefect.client.schemas.actions import ArtifactCreate
    from prefect.utilities.context import get_task_and_flow_run_ids

    task, run = get_task_and_flow_run_ids()
    wanted = ArtifactCreate(type=kind, key=key, description=text, data=content, flow_run_id=run)
    if of_task:
        wanted.task_run_id = task
    return client.create_artifact(wanted).id
