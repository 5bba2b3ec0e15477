"""Real servers for the tests, on free loopback ports: Prefect's and MLflow's, as a person starts them."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 120.0


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(true: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait for something, for so long and no longer; returns it."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for: {what}"
        time.sleep(0.1)
    return found


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@dataclass
class Server:
    """A server in a process of its own; what it tells goes into a file, because a pipe would outlive it."""

    words: list[str]
    port: int
    health: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "told").open("ab") as told:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.words],
                stdout=told,
                stderr=told,
                cwd=self.folder,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
        until(lambda: self.process is None or answers(self.address + self.health), f"{self.words[0]} at {self.address}")

    def end(self, how: int = signal.SIGKILL) -> None:
        """End the server and all that it started."""
        if self.process is not None:
            os.killpg(self.process.pid, how)
            self.process.wait()
            self.process = None


@contextmanager
def running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.end()


def prefect_server(folder: Path) -> Server:
    port = free_port()
    words = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    environment = {"PREFECT_HOME": str(folder), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}  # its UI asks there
    return Server(words, port, "/api/health", folder, environment)


def mlflow_server(folder: Path) -> Server:
    port = free_port()
    words = ["mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"]
    words += ["--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port)]
    return Server(words, port, "/health", folder, {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
