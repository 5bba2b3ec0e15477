"""`perennial up`: two servers, the process that serves the deployment, and the watcher, until someone ends it.

A part that dies is started again, later and later. Ending it ends the refresh under way after its next checkpoint,
then the parts, in the reverse of the order in which they started.
"""

import contextlib
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from pipelines.edge import attempts
from pipelines.edge.attempts import alive
from pipelines.edge.home import Busy, Home
from pipelines.edge.orchestration import prepare_environment
from pipelines.service.addresses import free_port, is_loopback, left_over, service, state_file
from steps.core.shards import write_json

logger = logging.getLogger(__name__)
Tell = Callable[[str], None]
HEALTHY_WITHIN_SECONDS = 240.0  # servers start in 15 s on a quiet machine
CHECKPOINT_SECONDS = 600.0  # for the refresh under way to reach its next checkpoint
STOP_SECONDS = 20.0
LONGEST_PAUSE_SECONDS = 30.0
LOG_BYTES = 10_000_000


@dataclass
class Part:
    """One process that stays up."""

    name: str
    command: list[str]
    health: str | None = None
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    started: float = 0.0
    next_start: float = 0.0
    environment: dict[str, str] = field(default_factory=dict)


class Supervisor:
    """The parts of one workspace, started, watched and ended."""

    def __init__(self, home: Home, tell: Tell) -> None:
        self.home, self.tell = home, tell
        self.folder = home.hidden / "service"
        self.logs = self.folder / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.addresses: dict[str, str] = {}
        self.parts: list[Part] = []
        self.ending = threading.Event()
        self.when_ready: Callable[[], None] = lambda: None
        self._ready = False
        self._unwritten = False

    def run(self) -> None:
        """Start everything and stay until told to end.

        Raises:
            Busy: the workspace is up already.
            RuntimeError: a part does not become healthy; the message holds the end of its log.
        """
        with self._alone():
            end_leftovers(self.home)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: self.ending.set())
            try:
                self._start_all()
                while not self.ending.wait(0.5):
                    self._watch()
            finally:
                self._end_all()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.folder / "up.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                up = service(self.home)
                where = f": {up['addresses']}" if up else ""
                raise Busy(f"{self.home.root}: up already{where}; end it with `perennial down`") from error
            yield

    def _start_all(self) -> None:
        settings = self.home.settings.servers
        if not is_loopback(settings.host):
            self.tell(f"servers.host is {settings.host}: others can reach the servers, and they ask for no password")
        servers = [*self._prefect(), *self._mlflow()]
        for part in servers:
            self._start(part)
            self.tell(f"starting {part.name}: {part.health}")
        for part in servers:
            self._wait_until_healthy(part)
        for name in ("deployments", "watcher"):
            part = Part(name, [sys.executable, "-m", f"pipelines.service.{name}", str(self.home.root)])
            self._start(part)
        receiver = self.home.settings.receiver
        if receiver.enabled:
            self.addresses["receiver"] = f"http://{receiver.host}:{receiver.port}/landed"
        self._ready = True
        self._write()
        self.when_ready()

    def _prefect(self) -> list[Part]:
        settings = self.home.settings.servers
        if settings.prefect:
            self.addresses |= {"prefect_api": settings.prefect, "prefect": settings.prefect.removesuffix("/api")}
            return []
        port = free_port(settings.host, settings.prefect_port)
        self._say_moved("Prefect", settings.prefect_port, port)
        address = f"http://{settings.host}:{port}"
        self.addresses |= {"prefect": address, "prefect_api": f"{address}/api"}
        words = ["-m", "prefect", "server", "start", "--host", settings.host, "--port", str(port)]
        own = {  # else any page that is open in a browser on this machine could start flows
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{address},http://localhost:{port}",
            "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        }
        return [Part("prefect", [sys.executable, *words], f"{address}/api/health", environment=own)]

    def _mlflow(self) -> list[Part]:
        settings = self.home.settings.servers
        if settings.mlflow:
            self.addresses["mlflow"] = settings.mlflow
            return []
        port = free_port(settings.host, settings.mlflow_port)
        self._say_moved("MLflow", settings.mlflow_port, port)
        address = f"http://{settings.host}:{port}"
        self.addresses["mlflow"] = address
        store, artifacts = f"sqlite:///{self.home.hidden / 'mlflow.db'}", (self.home.hidden / "mlflow").as_uri()
        words = ["-m", "mlflow", "server", "--backend-store-uri", store, "--artifacts-destination", artifacts]
        words += ["--host", settings.host, "--port", str(port), "--workers", "1"]
        no_jobs = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # else it starts seven more processes
        return [Part("mlflow", [sys.executable, *words], f"{address}/health", environment=no_jobs)]

    def _say_moved(self, name: str, wanted: int, port: int) -> None:
        if port != wanted:
            self.tell(f"port {wanted} is taken; {name} listens on {port}")

    def environment(self, name: str) -> dict[str, str]:
        """What a part runs under: the libraries' quiet settings, the servers' addresses, and no secret of another's."""
        receiver = self.home.settings.receiver
        secrets = set() if name == "watcher" else {receiver.token_variable, receiver.hmac_variable}
        return {
            **{variable: value for variable, value in os.environ.items() if variable not in secrets},
            "PREFECT_API_URL": self.addresses.get("prefect_api", ""),
            "MLFLOW_TRACKING_URI": self.addresses.get("mlflow", ""),
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO",  # into the part's log
            "PYTHONUNBUFFERED": "1",
        }

    def _start(self, part: Part) -> None:
        path = self.logs / f"{part.name}.log"
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        with path.open("ab") as log:
            part.process = subprocess.Popen(  # noqa: S603 (our own command line)
                part.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(part.name) | part.environment,
                cwd=self.home.root,
                start_new_session=True,  # Ctrl-C is for the supervisor, which ends the parts in order
            )
        part.started = time.monotonic()
        if part not in self.parts:
            self.parts.append(part)
        self._write()

    def _wait_until_healthy(self, part: Part) -> None:
        deadline = time.monotonic() + HEALTHY_WITHIN_SECONDS
        while not self.ending.is_set() and not healthy(part.health):
            ended = part.process and part.process.poll() is not None
            if ended or time.monotonic() > deadline:
                log = self.logs / f"{part.name}.log"
                what = f"ended with code {part.process.returncode}" if ended and part.process else "does not answer"
                raise RuntimeError(f"{part.name} {what}; the end of {log}:\n{tail(log, 15)}")
            self.ending.wait(0.2)

    def _watch(self) -> None:
        if self._unwritten or left_over(self.home) is None:  # the disk was full, or someone damaged it
            self._write()
        for part in self.parts:
            if part.process is None or part.process.poll() is None:
                continue
            now = time.monotonic()
            if not part.next_start:
                part.restarts = 0 if now - part.started > 10 * LONGEST_PAUSE_SECONDS else part.restarts + 1
                pause = 0.0 if part.restarts <= 1 else min(2.0 ** (part.restarts - 1), LONGEST_PAUSE_SECONDS)
                part.next_start = now + pause
                self.tell(f"{part.name} ended with code {part.process.returncode}; starting it again in {pause:.0f} s")
            if now >= part.next_start:
                end_group(part.name, part.process.pid)
                try:
                    self._start(part)
                    part.next_start = 0.0
                except OSError as error:  # no room for its log, too many processes: that passes
                    part.next_start = now + LONGEST_PAUSE_SECONDS
                    self.tell(f"{part.name} cannot be started: {error}; tried again in {LONGEST_PAUSE_SECONDS:.0f} s")

    def _end_all(self) -> None:
        watcher = [part for part in self.parts if part.name == "watcher"]
        for part in watcher:
            end(part.process)
        if facts := attempts.running(self.home):
            self.tell("the refresh under way ends after its next checkpoint; the next one goes on there")
            end_refresh(facts)
        for part in reversed([part for part in self.parts if part not in watcher]):
            end(part.process)
            if part.process:
                end_group(part.name, part.process.pid)
        state_file(self.home).unlink(missing_ok=True)

    def _write(self) -> None:
        me = psutil.Process()
        parts = {
            part.name: {"pid": part.process.pid, "created": _created(part.process.pid), "restarts": part.restarts}
            for part in self.parts
            if part.process
        }
        state = {"pid": me.pid, "created": me.create_time(), "ready": self._ready, "addresses": self.addresses}
        try:
            write_json(state_file(self.home), {**state, "parts": parts})
            self._unwritten = False
        except OSError as error:  # a full disk ends nothing; it is written once there is room
            if not self._unwritten:
                self.tell(f"{state_file(self.home)} cannot be written: {error}")
            self._unwritten = True


def _created(pid: int) -> float:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def healthy(address: str | None) -> bool:
    """Whether a server answers."""
    if address is None:
        return True
    try:
        return httpx.get(address, timeout=2.0).status_code < 500
    except httpx.HTTPError:
        return False


def end(process: subprocess.Popen[bytes] | psutil.Process | None) -> None:
    """End a process: asked first, then made to."""
    if process is None:
        return
    try:
        process.terminate()
        process.wait(STOP_SECONDS)
    except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
        process.kill()
        process.wait(STOP_SECONDS)
    except (ProcessLookupError, psutil.Error):
        return


def end_group(name: str, pid: int) -> None:
    """End what a part that has died leaves of its own, as MLflow's server leaves the one that holds its port.

    The refreshes that the deployments' process started are left alone: they finish, and are known by their claims.
    """
    if name == "deployments":
        return
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            ours = process.environ().get("PREFECT_HOME") == os.environ.get("PREFECT_HOME")
            if os.getpgid(process.pid) == pid and ours:  # a part leads a group of its own; numbers are used again
                process.kill()


def end_refresh(facts: Mapping[str, Any]) -> None:
    """Ask the refresh under way to end after its next checkpoint, and wait for it."""
    try:
        os.kill(facts["pid"], signal.SIGTERM)
        psutil.Process(facts["pid"]).wait(CHECKPOINT_SECONDS)
    except (ProcessLookupError, psutil.Error):
        return


def end_leftovers(home: Home) -> int:
    """End what a killed supervisor left running; a refresh under way goes on. Returns how many processes."""
    found, ended = left_over(home), 0
    for name, part in (found or {}).get("parts", {}).items():
        if alive(part["pid"], part["created"]):
            process = psutil.Process(part["pid"])
            if name == "deployments":
                process.kill()  # asked politely it would end the refresh that it started
            else:
                end(process)
            ended += 1
        end_group(name, part["pid"])
    return ended


def down(home: Home) -> bool:
    """End `perennial up`, wherever it runs; returns whether it was up.

    Raises:
        Busy: it has not ended in time.
    """
    up = service(home)
    if up is None:
        left = end_leftovers(home)
        state_file(home).unlink(missing_ok=True)
        return left > 0
    process = psutil.Process(up["pid"])
    process.terminate()
    try:
        process.wait(CHECKPOINT_SECONDS + 5 * STOP_SECONDS)
    except psutil.TimeoutExpired as error:
        raise Busy(f"process {up['pid']} has not ended; see {home.hidden / 'service' / 'logs'}") from error
    return True


def tail(path: Path, lines: int) -> str:
    """The last lines of a log."""
    if not path.exists():
        return ""
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def main(root: str) -> None:
    """What `python -m pipelines.service.supervisor WORKSPACE` does: `perennial up`, into a log."""
    prepare_environment(Path(root))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    Supervisor(Home(Path(root)), logger.info).run()


if __name__ == "__main__":
    main(sys.argv[1])
