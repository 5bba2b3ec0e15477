"""Prefect: runs a score as a flow and each step as a task of the same name.

Embedded by default (a server of its own, ended with the process); with a server where `PREFECT_API_URL` is set.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipelines.edge.outcome import Outcome

DoType = TypeVar("DoType", bound="Runs")
Result = TypeVar("Result")

ENVIRONMENT = {  # set before the libraries are imported, never over a user's own choice
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the command line tells of errors, once
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads stall each other on a busy machine
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}


class Runs(Protocol):
    """What a score runs on."""

    prefect: bool

    @property
    def title(self) -> str:
        """What the flow run is called."""
        ...


def prepare_environment(root: Path) -> None:
    """Set what the libraries read from the environment; call before they are imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    home = root.resolve() / ".perennial" / "prefect"
    home.mkdir(parents=True, exist_ok=True)  # Prefect's server cannot start where it is missing, and does not say why
    os.environ.setdefault("PREFECT_HOME", str(home))


def end_orphans() -> int:
    """End embedded servers that a killed refresh left behind; call it while holding the workspace. Returns how many."""
    import psutil

    if os.environ.get("PREFECT_API_URL"):
        return 0
    ended = 0
    for process in psutil.process_iter():
        try:
            if "prefect.server.api.server:create_app" not in " ".join(process.cmdline()):
                continue
            parent = process.parent()
            ours = process.environ().get("PREFECT_HOME") == os.environ["PREFECT_HOME"]
            if ours and (parent is None or "python" not in " ".join(parent.cmdline())):
                process.terminate()
                ended += 1
        except psutil.Error:  # ended meanwhile, or another user's
            continue
    return ended


def flow(name: str) -> Callable[[Callable[[DoType], Outcome]], Callable[[DoType], Outcome]]:
    """Make a score run as a Prefect flow whose final state is named after the verdict."""

    def decorate(score: Callable[[DoType], Outcome]) -> Callable[[DoType], Outcome]:
        def run(do: DoType) -> Outcome:
            return _as_flow(name, score, do) if do.prefect else score(do)

        run.__doc__ = score.__doc__
        return run

    return decorate


def _as_flow(name: str, score: Callable[[DoType], Outcome], do: DoType) -> Outcome:
    from prefect import flow as prefect_flow
    from prefect.states import Completed

    ended: list[Outcome] = []

    def body() -> Any:
        ended.append(score(do))
        outcome = ended[0]
        return Completed(name=outcome.kind.capitalize(), message="\n".join(outcome.reasons) or outcome.kind)

    prefect_flow(name=name, flow_run_name=do.title, persist_result=False)(body)(return_state=True).result()
    return ended[0]


def as_task(name: str, title: str, work: Callable[[], Result], *, prefect: bool) -> Result:
    """Run one piece of work, as a Prefect task of that name inside a flow."""
    if not prefect:
        return work()
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    kept: list[Result] = []
    task(name=name, task_run_name=title, cache_policy=NO_CACHE, persist_result=False)(lambda: kept.append(work()))()
    return kept[0]
