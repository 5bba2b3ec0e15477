"""What is broken: a workspace of three tasks on real text, served by `perennial up` or refreshed by hand."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from pipelines.edge import landing
from pipelines.edge.attempts import alive, running
from pipelines.edge.home import Home
from pipelines.edge.owners import claims
from pipelines.edge.stages import STAGES
from pipelines.service.addresses import left_over, service
from tests.workspaces import NOW, rows, tiny, workspace, write_rows

ROOT = Path(__file__).resolve().parents[2]
MAIN = "from pipelines.cli import main; main()"
OUR_PLACES = {"PREFECT_HOME", "PREFECT_API_URL", "MLFLOW_TRACKING_URI"}
PARTS = ("prefect", "mlflow", "deployments", "watcher")
MOMENTS = ("arrival", "start", *STAGES, "conclude")  # of a refresh, in their order; before its first stage: two more
DOCUMENTS, EACH, DELIVERIES = 60, 9, 20  # of a task at first, of a delivery; how many deliveries the text is enough for
PATIENCE_SECONDS = 240.0
UNCLAIMED_SECONDS = 420.0  # a run that began nowhere is given up after five minutes
MEGABYTES = 400
EASY_GATE = {"margin_nats": 5.0, "min_items": 2, "min_documents": 2, "superiority": "not-required"}


class TooLong(RuntimeError):
    """Something that should have come by itself did not come in time."""


def until(true: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS, pause: float = 0.2) -> Any:
    """Wait for something, for so long and no longer; returns it."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > deadline:
            raise TooLong(f"waited {seconds:.0f} s for: {what}")
        time.sleep(pause)
    return found


def furnish(folder: Path, *, threads: int = 1) -> Home:
    """A workspace with its first landing, settings that start refreshes at once, and a gate that everything passes."""
    home = workspace(folder, documents=DOCUMENTS)
    own = os.getpid() % 1000 * 10  # so that no other run takes the port of a server that is away
    settings = {
        "name": "chaos",
        "recipe": "chaos.yaml",
        "device": "cpu",
        "threads": threads,
        "retry_after": "1s",
        "failures_before_hold": 6,  # two kills of one attempt are not the batch's fault, and must not look like it
        "triggers": {"*": {"documents": 1, "quiet": "0s"}},
        "inbox": [
            {"task": task, "address": f"inbox/{task}", "settle_seconds": 1.0} for task in ("statements", "types")
        ],
        "servers": {"prefect_port": 20_000 + own, "mlflow_port": 40_000 + own},
    }
    (home.root / "perennial.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    recipe = tiny(gate=EASY_GATE, train={"checkpoint_steps": 2}).dump()
    (home.root / "chaos.yaml").write_text(
        yaml.safe_dump({**recipe, "name": "chaos"}, sort_keys=False), encoding="utf-8"
    )
    return home


def delivery(folder: Path, number: int) -> tuple[str, Path]:
    """The task and the file of a delivery; the first is number 1, for the workspace begins with number 0."""
    task = ("statements", "types")[number % 2]
    path = folder / f"delivery-{number}.jsonl"
    return task, write_rows(path, rows(task, DOCUMENTS + EACH * ((number - 1) // 2), EACH))


class World:
    """One workspace, its deliveries, its processes."""

    def __init__(self, folder: Path, *, served: bool = True) -> None:
        self.folder, self.served = folder, served
        self.mounted = _mount(folder)
        self.home = furnish(folder / "w")
        self.delivered = -1  # the workspace comes with delivery 0, which waits
        self._by_hand: subprocess.Popen[bytes] | None = None

    # ---- commands, as a person types them

    def perennial(self, *words: str, wait: float = 300.0) -> None:
        """Run one command of the command line to its end."""
        with self.told() as told:
            command = [sys.executable, "-c", MAIN, "-w", str(self.home.root), *words]
            ran = subprocess.run(
                command, stdout=told, stderr=told, check=False, timeout=wait, cwd=ROOT, env=self.environment()
            )
        if ran.returncode not in {0, 10, 11}:
            raise TooLong(f"`perennial {' '.join(words)}` ended with {ran.returncode}: {self.last_words()}")

    def environment(self, **more: str) -> dict[str, str]:
        """What its processes run under: nothing of our own places."""
        kept = {name: value for name, value in os.environ.items() if name not in OUR_PLACES}
        return {**kept, "OMP_NUM_THREADS": "1", **more}

    @contextlib.contextmanager
    def told(self) -> Iterator[Any]:
        """What commands say: a file, because a pipe would outlive a killed process."""
        with (self.folder / "told").open("ab") as told:
            yield told

    def last_words(self) -> str:
        """The end of what the commands said."""
        return (self.folder / "told").read_text(encoding="utf-8", errors="replace")[-600:]

    def begin(self) -> None:
        """Bring it up; by hand: start the refresh that a person would start."""
        if self.served:
            self.perennial("up", "--detach")
            return
        with self.told() as told:
            command = [sys.executable, "-c", MAIN, "-w", str(self.home.root), "refresh", "--wait", "60"]
            self._by_hand = subprocess.Popen(command, stdout=told, stderr=told, cwd=ROOT, env=self.environment())

    def open(self) -> None:
        """Begin, and wait until the first landing has become the first version."""
        self.deliver()
        self.begin()
        self.recover()
        self.quiet()

    def end(self) -> None:
        """End everything, the world with it."""
        with contextlib.suppress(TooLong, subprocess.TimeoutExpired):
            if self.served:
                self.perennial("down")
        for process in self.left():
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def left(self) -> list[psutil.Process]:
        """The processes that belong to this workspace."""
        found, ours = [], str(self.home.root)
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.environ().get("PREFECT_HOME", ""), *process.cmdline()
                if process.pid != os.getpid() and any(ours in word for word in words):
                    found.append(process)
        return found

    # ---- deliveries and what becomes of them

    def deliver(self, *, inbox: bool = False) -> int:
        """The next delivery lands, or lies in the inbox; returns its number."""
        self.delivered += 1
        if self.delivered == 0:
            return 0
        task, path = delivery(self.folder / "outbox", self.delivered)
        if inbox:
            place = self.home.root / "inbox" / task
            place.mkdir(parents=True, exist_ok=True)
            for old in place.iterdir():
                old.unlink()  # a sender's own business
            shutil.copyfile(path, place / path.name)
        else:
            landing.land(self.home.root, task, [path], now=NOW)
        return self.delivered

    def verdicts(self) -> list[dict[str, Any]]:
        """The verdicts in the ledger."""
        return [event for event in self.home.ledger() if event["event"] == "verdict"]

    @property
    def all_judged(self) -> bool:
        """Whether every delivery has had its refresh."""
        return len(self.verdicts()) > self.delivered

    def stage(self) -> str:
        """Where the refresh of the last delivery is: `arrival`, `start`, a stage, `conclude` or `ended`."""
        if self.all_judged:
            return "ended"
        facts = running(self.home)
        if facts is None:
            return "start" if any(claims(self.home).values()) else "arrival"
        return str(facts.get("stage") or "start")

    def reach(self, wanted: str, delay: float = 0.0) -> str:
        """Wait until the refresh has come to a moment, and a bit longer; returns where it is then."""
        wanted_at = MOMENTS.index(wanted)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (now := self.stage()) != "ended" and MOMENTS.index(now) < wanted_at:
            if time.monotonic() > deadline:
                raise TooLong(f"no refresh came to {wanted}; it is at {now}")
            time.sleep(0.003)
        time.sleep(delay)
        return self.stage()

    def checkpoints(self) -> list[Path]:
        """The checkpoints of the training under way, oldest first."""
        found = (self.home.root / "data/train/checkpoints").glob("step-*")
        return sorted(found, key=lambda path: int(path.name[5:]))

    # ---- processes

    def pid(self, target: str) -> int | None:
        """The process of a part, of the supervisor, or of the refresh under way (`flow`); none if there is none."""
        if target == "flow":
            facts = running(self.home)
            return facts["pid"] if facts else self._claimed()
        state = left_over(self.home) or {"parts": {}}
        facts = state if target == "supervisor" else state["parts"].get(target, {})
        return facts["pid"] if facts and alive(facts["pid"], facts["created"]) else None

    def _claimed(self) -> int | None:
        for file in (self.home.hidden / "service" / "flows").glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                owner = json.loads(file.read_text(encoding="utf-8"))
                if alive(owner["pid"], owner["created"]):
                    return int(owner["pid"])
        return None

    def signal(self, target: str, number: int = signal.SIGKILL, *, group: bool = False) -> bool:
        """Send a signal to one process, or to the whole group that it leads; false: there is none."""
        pid = self.pid(target)
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number) if group else os.kill(pid, number)
            return True
        return False

    # ---- recovery

    def recover(self) -> None:
        """Wait until every delivery is judged; by hand: run the one command until it is so."""
        if not self.served:
            if self._by_hand:
                self._by_hand.wait(PATIENCE_SECONDS)
            for _ in range(3):
                if not self.all_judged:
                    self.perennial("refresh", "--wait", "60")
        until(lambda: self.all_judged, f"the verdict on delivery {self.delivered}")

    def quiet(self) -> None:
        """Wait until nothing runs, and no user interface says that something does."""
        until(lambda: running(self.home) is None and self._claimed() is None, "the refresh's process to end")
        until(lambda: not self.open_mlflow_runs(), "no run in MLflow that is RUNNING")
        if self.served:
            until(lambda: service(self.home) and all(self.pid(part) for part in PARTS), "all parts to be up", 120.0)
            until(lambda: not self.open_flow_runs(), "no run in Prefect under way or overdue", UNCLAIMED_SECONDS, 1.0)

    def open_mlflow_runs(self) -> list[str]:
        """Runs that MLflow shows as RUNNING."""
        with contextlib.closing(sqlite3.connect(f"file:{self.home.hidden}/mlflow.db?mode=ro", uri=True)) as database:
            return [str(row[0]) for row in database.execute("select name from runs where status = 'RUNNING'")]

    def open_flow_runs(self) -> list[str]:
        """Runs that Prefect shows as under way or overdue; what is wrong, where it cannot be asked."""
        up = service(self.home)
        if up is None:
            return ["no service"]
        under_way = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
        overdue = {
            "state": {"type": {"any_": ["SCHEDULED"]}},
            "expected_start_time": {"before_": datetime.now(UTC).isoformat()},
        }
        found = []
        try:
            with self.prefect() as client:
                for wanted in (under_way, overdue):
                    answer = client.post("/flow_runs/filter", json={"flow_runs": wanted}).raise_for_status()
                    found += [f"{run['name']} {run['state_type']}" for run in answer.json()]
        except httpx.HTTPError as error:
            return [repr(error)]
        return found

    @contextlib.contextmanager
    def prefect(self) -> Iterator[Any]:
        """What talks to Prefect's server; it knows of its protection against forged requests."""
        from prefect.client.orchestration import get_client
        from prefect.settings import PREFECT_API_URL, temporary_settings

        up = service(self.home)
        assert up
        address = up["addresses"]["prefect_api"]
        with temporary_settings({PREFECT_API_URL: address}), get_client(sync_client=True) as client:
            yield client._client

    # ---- the machine

    def mount(self, *words: str) -> None:
        """One call of mount, which needs root."""
        subprocess.run(["mount", *words], check=True, capture_output=True)


def _mount(folder: Path) -> bool:
    """A small disk of its own for the world, if this user may mount one."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False
