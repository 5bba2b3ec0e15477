"""Jobs on a Ray cluster: one that runs already, or one that is started on this machine (extra `[ray]`).

Ray schedules, and runs a job again where a worker or a node dies. Ours are the order, few jobs at a time, and a look
at the ground before each worker's first job: a node with other files or other code would give other bytes.
"""

import contextlib
import logging
import os
import secrets
import signal
import socket
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.edge.fingerprints import STEPS, code_digest
from pipelines.edge.runtime import AHEAD, ONE_THREAD, Function, named, watch, work
from pipelines.edge.settings import Runtime
from steps.core.shards import write_atomic

RETRIES = 5  # how often a job runs again because its worker or its node died
QUIET = {  # never over a user's own choice
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what Ray will do by default; otherwise it warns
}
logger = logging.getLogger(__name__)
REACH_SECONDS = 10.0
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # "0": Ray takes 127.0.0.1 for its address, on any system


class NoCluster(ConnectionError):
    """No cluster that could do the work; no batch is to blame for it."""


class Ground(NamedTuple):
    """What a worker must find where it runs."""

    file: str
    content: str
    code: str


class RayEngine:
    """The same contract as `Local`, on a cluster. Connected at the first job, for as long as this process lives."""

    def __init__(self, settings: Runtime, root: Path) -> None:
        self.settings, self.root = settings, root

    def map(self, function: Function, jobs: Sequence[Any]) -> Iterator[Any]:
        """The function's result for each job, in order.

        Raises:
            NoCluster: it does not answer, a worker has other files or other code, or Ray is not installed here.
            RuntimeError: a job's workers or nodes died again and again.
        """
        if not jobs:
            return
        ray = _connect(self.settings)
        waiting: deque[Any] = deque()
        try:
            with _ground(self.root) as ground:
                remote = ray.remote(_on_ground).options(max_retries=RETRIES, num_cpus=1, scheduling_strategy="SPREAD")
                taken = 0
                while waiting or taken < len(jobs):
                    while taken < len(jobs) and len(waiting) < self._most(ray):
                        waiting.append(remote.remote(ground, function, jobs[taken]))
                        taken += 1
                    result = _result(ray, waiting[0], function, jobs, taken - len(waiting))
                    waiting.popleft()
                    yield result
        finally:
            for reference in waiting:  # an error, or nobody wants the rest
                with contextlib.suppress(Exception):
                    ray.cancel(reference, force=True)

    def _most(self, ray: Any) -> int:
        """How many jobs may be handed out and not yet handed back, on the nodes that there are now."""
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        return AHEAD * (min(cores, self.settings.workers) if self.settings.workers else cores)


def _result(ray: Any, reference: Any, function: Function, jobs: Sequence[Any], number: int) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(error.cause, Exception) else error
        cause.add_note(named(function, jobs, number))
        raise cause from error
    except ray.exceptions.RayError as error:
        raise RuntimeError(
            f"{named(function, jobs, number)}: its worker or node died, and so did those that ran it again "
            f"({RETRIES} times at most): {str(error).strip().splitlines()[0]}"
        ) from error


def _connect(settings: Runtime) -> Any:
    """Ray, connected; what an earlier call or the surrounding program connected to is used."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if settings.address is None:  # a cluster of one: nobody else reaches it
        os.environ.setdefault(LOOPBACK, "0")
        if os.environ.setdefault("RAY_AUTH_MODE", "token") == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    _reach(settings.address)
    try:
        import ray
    except ImportError as error:
        raise NoCluster("runtime.engine: ray is not installed; pip install 'perennial[ray]'") from error
    if ray.is_initialized():
        return ray
    options: dict[str, Any] = {"runtime_env": {"env_vars": ONE_THREAD}, "log_to_driver": False}
    if settings.address is None:
        options |= {"num_cpus": settings.workers or None, "include_dashboard": False}
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=settings.address or "local", logging_level=logging.ERROR, **options)
    except ConnectionError as error:
        raise NoCluster(f"runtime.address: no Ray cluster at {settings.address}: {error}") from error
    finally:
        if main:
            signal.signal(signal.SIGTERM, handler)  # Ray puts its own in its place
    import ray._private.worker as driver

    driver.print_to_stdstream = _tell  # Ray would write to standard output, which is for `--json`
    return ray


def _reach(address: str | None) -> None:
    """Ray would try an address for minutes, and write a C++ stack while it does.

    Raises:
        NoCluster: nothing listens there.
    """
    if address is None or address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except OSError as error:
        raise NoCluster(f"runtime.address: nothing answers at {address}: {error}") from error


def _tell(message: dict[str, Any], **options: Any) -> None:
    """What Ray has to say of its nodes while jobs run."""
    logger.warning("Ray: %.300s", " ".join(" ".join(message["lines"]).split()))


@contextlib.contextmanager
def _ground(root: Path) -> Iterator[Ground]:
    """A file in the workspace that a worker must see, and the code that it must have."""
    token = secrets.token_hex(16)
    path = root / ".perennial" / "ray" / token
    write_atomic(path, token)
    try:
        yield Ground(str(path), token, _code())
    finally:
        path.unlink(missing_ok=True)


@cache
def _code() -> str:
    """Digest of everything under `steps/`, and of the libraries behind its numbers."""
    paths = sorted(path.relative_to(STEPS.parent).with_suffix("") for path in STEPS.rglob("*.py"))
    return code_digest(".".join(path.parts) for path in paths)


@cache
def _stand_on(ground: Ground) -> None:
    """Check, once in each worker, that it can give what this machine would; and end it when its node's process dies.

    Raises:
        NoCluster: it cannot.
    """
    where = f"the Ray node {os.uname().nodename}"
    path = Path(ground.file)
    if not path.exists() or path.read_text(encoding="utf-8") != ground.content:
        raise NoCluster(
            f"{where} does not see the workspace {path.parents[2]}; mount it on every node, at the same path"
        )
    if _code() != ground.code:
        raise NoCluster(
            f"{where} has other code or other libraries than this machine had when it began; install the same "
            "perennial and requirements.lock on every node, or share one environment; change neither during a run"
        )
    threading.Thread(target=watch, args=(os.getppid(),), name="watch-parent", daemon=True).start()


def _on_ground(ground: Ground, function: Function, job: Any) -> Any:
    _stand_on(ground)
    return work(function, job)
