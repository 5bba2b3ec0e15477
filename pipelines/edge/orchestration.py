"""Prefect: runs a score as a flow and each step as a task of the same name.

Embedded by default (a server of its own, ended with the process); with a server where `PREFECT_API_URL` is set.
"""

import logging
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pipelines.edge.passwords import hide_passwords

DoType = TypeVar("DoType", bound="Runs")
Ended = TypeVar("Ended", bound="Ends")
Result = TypeVar("Result")
logger = logging.getLogger(__name__)
FEW = 2  # times that a call in a flow run is sent again (2 + 4 s): `set_final_state` has more patience
PATIENCE_SECONDS = 30.0  # for a server that is on its way back

ENVIRONMENT = {  # set before the libraries are imported, never over a user's own choice
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",  # the new UI asks amplitude.com, whatever the settings say
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "pipelines,steps",  # what they warn of is in the run's logs
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the command line tells of errors, once
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output is for `--json`
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

    def claim(self, flow_run: str) -> AbstractContextManager[None]:
        """Own a flow run while this process runs it."""
        ...


class Ends(Protocol):
    """How a score ended."""

    @property
    def kind(self) -> str:
        """One word: the name of the flow run's final state."""
        ...

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, in sentences."""
        ...


def prepare_environment(root: Path) -> None:
    """Set what the libraries read from the environment; call before they are imported."""
    hide_passwords()
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
            ours = process.environ().get("PREFECT_HOME") == os.environ.get("PREFECT_HOME", "")
            if ours and (parent is None or "python" not in " ".join(parent.cmdline())):
                process.terminate()
                ended += 1
        except psutil.Error:  # ended meanwhile, or another user's
            continue
    return ended


def flow(name: str) -> Callable[[Callable[[DoType], Ended]], Callable[[DoType], Ended]]:
    """Make a score run as a Prefect flow whose final state is named after its outcome.

    Inside a flow run that is under way (a deployment's) it runs in that one, whose flow sets the final state.
    """

    def decorate(score: Callable[[DoType], Ended]) -> Callable[[DoType], Ended]:
        def run(do: DoType) -> Ended:
            return _as_flow(name, score, do) if do.prefect and present_run() is None else score(do)

        run.__doc__ = score.__doc__
        return run

    return decorate


def present_run() -> Any:
    """The id of the Prefect flow run that this code runs in, if it runs in one."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    return context.flow_run.id if context and context.flow_run else None


def final_state(outcome: Ends) -> Any:
    """The state that a flow ends in: completed, whatever the verdict, and named after it."""
    from prefect.states import Completed

    return Completed(name=outcome.kind.capitalize(), message="\n".join(outcome.reasons) or outcome.kind)


class _Once(Generic[Result]):
    """Work that is handed to Prefect. What it gave or raised counts, not what Prefect's API made of it."""

    def __init__(self, name: str, work: Callable[[], Result]) -> None:
        self.name, self._work = name, work
        self.results: list[Result] = []
        self.error: BaseException | None = None

    def __call__(self) -> None:
        try:
            self.results.append(self._work())
        except BaseException as error:
            self.error = error
            raise

    def result(self, broken: Exception | None) -> Result:
        """The work's result or its own error, after Prefect is done with it or broke; it runs here if it has not."""
        if broken is not None and broken is not self.error:
            logger.warning("%s: Prefect's server could not be told (%r); the work itself goes on", self.name, broken)
        if self.error is not None:
            raise self.error
        if not self.results:
            self()
        return self.results[0]


def _as_flow(name: str, score: Callable[[DoType], Ended], do: DoType) -> Ended:
    from prefect import flow as prefect_flow
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
    from prefect.states import Failed

    once = _Once(name, lambda: score(do))
    runs: list[Any] = []

    def body() -> Any:
        runs.append(present_run())
        with do.claim(str(runs[0])):
            once()
        return final_state(once.results[0])

    broken: Exception | None = None
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: FEW}):
            prefect_flow(name=name, flow_run_name=do.title, persist_result=False)(body)(return_state=True)
    except Exception as error:  # noqa: BLE001  the score's own, or Prefect's: `once` knows which
        broken = error
    if broken is not None and broken is not once.error and runs:
        if once.results:
            set_final_state(runs[0], final_state(once.results[0]))
        elif isinstance(once.error, Exception):  # not where a person or the system ends the process
            set_final_state(runs[0], Failed(message=repr(once.error)))
    return once.result(broken)


def set_final_state(run: Any, state: Any) -> bool:
    """Tell Prefect's server how a flow run ended, trying for a while: it may be on its way back. False: it was not."""
    from prefect.client.orchestration import get_client

    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with get_client(sync_client=True, httpx_settings={"timeout": 5.0}) as client:
                client.set_flow_run_state(run, state, force=True)
            return True
        except Exception as error:  # noqa: BLE001  a server that is gone breaks no refresh
            if time.monotonic() > deadline:
                logger.warning("flow run %s: its final state %s could not be set: %r", run, state.name, error)
                return False
            time.sleep(1.0)


def as_task(name: str, title: str, work: Callable[[], Result], *, prefect: bool) -> Result:
    """Run one piece of work, as a Prefect task of that name inside a flow."""
    if not prefect:
        return work()
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    once = _Once(name, work)
    broken: Exception | None = None
    try:
        task(name=name, task_run_name=title, cache_policy=NO_CACHE, persist_result=False)(once.__call__)()
    except Exception as error:  # noqa: BLE001  the work's own, or Prefect's: `once` knows which
        broken = error
    return once.result(broken)
