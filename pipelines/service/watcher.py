"""The watcher: what arrives becomes landings and events, and what waits becomes a refresh when its conditions hold.

It decides nothing that counts: whether a batch takes part, and whether an attempt was judged, is decided by the
refresh itself, which holds the workspace and reads the ledger. So two watchers, a lost event or the same one twice
start at most a run that finds nothing to do.
"""

import contextlib
import logging
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pipelines.edge import landing, owners, versioning
from pipelines.edge.attempts import failures, names_of, ready, running
from pipelines.edge.home import Home
from pipelines.edge.orchestration import prepare_environment
from pipelines.edge.session import unconsumed
from pipelines.recipe import find_recipe, load_recipe
from pipelines.service import announce, deployments
from pipelines.service.backlog import Backlog
from pipelines.service.conditions import Decision, decide, pause_left, spent
from pipelines.service.inbox import Inboxes, Scan
from pipelines.service.lookout import Lookout
from steps.core.artifacts import Landed
from steps.core.manifest import read_manifest
from steps.core.shards import digest_of, write_json

logger = logging.getLogger(__name__)
Names = TypeAdapter(set[str])
TICK_SECONDS = 0.5
HOUSEKEEPING_SECONDS = 30.0
AGAIN_SECONDS = 60.0  # a start that was asked for and has not come is asked for again
BUSY_SECONDS = 1.0


class Watcher:
    """One workspace's watcher; `run` stays until told to stop."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.backlog = Backlog(home)
        self.lookout = Lookout(Inboxes(home))
        self._landed_file = home.hidden / "service" / "landed.json"
        self._told: set[str] = self._read_told()
        self._signature: object = None
        self._look_again = 0.0
        self._kept = 0.0
        self._asked: tuple[str, float] = ("", 0.0)
        self.decision: Decision | None = None

    def run(self, stop: threading.Event) -> None:
        """Watch until told to stop; what fails is logged, and tried again at the next tick."""
        with contextlib.ExitStack() as stack:
            if self.home.settings.receiver.enabled:
                from pipelines.service.receiver import receiving

                logger.info("receiver: %s", stack.enter_context(receiving(self.home, self.lookout.take)))
            for scan in self.lookout.scans(stop, TICK_SECONDS):
                if scan is not None:
                    self._say(scan)
                self.tick()

    def tick(self) -> None:
        """One look at everything: arrivals, conditions, and now and then the housekeeping."""
        self._safely(self.tell_arrivals)
        now = time.monotonic()
        signature = self._read_signature()
        if signature != self._signature or now >= self._look_again:
            self._signature, self._look_again = signature, now + AGAIN_SECONDS
            self._safely(self.consider)
        if now - self._kept >= HOUSEKEEPING_SECONDS:
            self._kept = now
            self.keep_house()

    def _safely(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 (a server that is away, a file that is half written: the next tick)
            logger.warning("%s: %s: %s", getattr(work, "__name__", "work"), type(error).__name__, error)

    def _say(self, scan: Scan) -> None:
        if scan.batch:
            logger.info("%s: landed %s from %s", scan.inbox.task, scan.batch.name, scan.inbox.address)
        for name, why in scan.refused.items():
            logger.warning("%s: %s: refused: %s", scan.inbox.address, name, why)
        if scan.problem:
            logger.warning("%s: %s", scan.inbox.address, scan.problem)

    def tell_arrivals(self) -> int:
        """Send `data.landed` for every batch that was not told of; however it landed. Returns how many."""
        new = [name for name in self._names() if name not in self._told]
        if not new:
            return 0
        announce.emit([self._event("data.landed", *name.split("/", 1)) for name in new])
        self._told.update(new)
        write_json(self._landed_file, sorted(self._told))
        return len(new)

    def _names(self) -> list[str]:
        root = self.home.root / landing.LANDING
        folders = [folder for folder in sorted(root.iterdir()) if folder.is_dir()] if root.is_dir() else []
        return [
            f"{folder.name}/{batch.name}"
            for folder in folders
            for batch in sorted(folder.iterdir())
            if landing.BATCH_NAME.match(batch.name) and (batch / "manifest.json").exists()
        ]

    def _event(self, name: str, task: str, batch: str) -> dict[str, Any]:
        manifest = read_manifest(self.home.root / landing.LANDING / task / batch)
        size = sum(file.bytes for file in manifest.files)
        payload = {"task": task, "batch": batch, "files": len(manifest.files), "bytes": size}
        source = f"{deployments.resource(self.home)}.task.{task}"
        return event(name, source, payload, identity=f"{self.home.settings.name}/{task}/{batch}/{manifest.digest}")

    def _read_told(self) -> set[str]:
        try:
            return Names.validate_json(self._landed_file.read_bytes())
        except (FileNotFoundError, ValueError):  # damaged: all is told again, and Prefect knows the events' ids
            return set()

    def _read_signature(self) -> object:
        """Changes whenever the answer may: something landed, the ledger grew, a setting was edited."""
        files = (self.home.ledger_file, self.home.root / "perennial.yaml", self.home.root / "data" / "tasks.yaml")
        marks = [(file.stat().st_mtime_ns, file.stat().st_size) if file.exists() else None for file in files]
        return (self._names(), marks)

    def consider(self) -> Decision | None:
        """Decide whether a refresh should start; if so, ask Prefect for it with `perennial.refresh.due`."""
        if running(self.home):
            self._look_again = time.monotonic() + BUSY_SECONDS
            return None
        now, settings = datetime.now(UTC), self.home.settings
        name, consumed = self._champion()
        found = unconsumed(self.home, consumed)
        waiting = self.backlog.waiting(found, now)
        taken, ledger = ready(self.home, found, now), self.home.ledger()
        pause = pause_left(ledger, settings.retry_after, now)
        known = self._known(name, taken, ledger)
        decision = decide(waiting, settings, spent(ledger, now), pause, known)
        if decision != self.decision:
            logger.info("%s: %s", "start" if decision.start else "wait", decision.why)
        self.decision = decision
        if decision.ask_again_in is not None:
            self._look_again = time.monotonic() + min(max(0.05, decision.ask_again_in), AGAIN_SECONDS)
        if decision.start:
            self._ask(decision, taken)
        return decision

    def _champion(self) -> tuple[str, dict[str, tuple[str, ...]]]:
        from pipelines.edge.registry import Registry

        registry = Registry(self.home)
        number = registry.champion()
        return (number, dict(registry.version(number).consumed)) if number else ("base", {})

    def _known(self, parent: str, taken: dict[str, Landed], ledger: list[dict[str, Any]]) -> str:
        """Why this very attempt must not start by itself again: it was judged, or a person stopped it."""
        recipe = load_recipe(find_recipe(self.home.settings.recipe, self.home.root))
        wanted = (parent, recipe.fingerprint(), names_of(taken))
        ended: dict[str, str] = {}
        for one in ledger:
            if one["event"] == "verdict":
                ended[one["attempt"]] = f"judged before: {one['verdict']}"
            elif one["event"] == "stopped" and one.get("by_hand"):
                ended[one["attempt"]] = "stopped by hand; `perennial refresh` goes on with it"
            elif one["event"] == "attempt":
                ended.pop(one["attempt"], None)
        same = [
            one["attempt"]
            for one in ledger
            if one["event"] == "attempt" and (one["parent"], one.get("fingerprint"), one["batches"]) == wanted
        ]
        return next((ended[attempt] for attempt in reversed(same) if attempt in ended), "")

    def _ask(self, decision: Decision, taken: dict[str, Landed]) -> None:
        batches = names_of(taken)
        wish = digest_of([batches, sorted(failures(self.home).items()), len(self.home.ledger())])
        before, when = self._asked
        if wish == before and time.monotonic() - when < AGAIN_SECONDS:
            return
        turn = int(time.time() // AGAIN_SECONDS)
        payload = {"why": decision.why, "batches": batches}
        announce.emit([event(deployments.DUE, deployments.resource(self.home), payload, identity=f"{wish}/{turn}")])
        self._asked = (wish, time.monotonic())
        self._look_again = time.monotonic() + AGAIN_SECONDS

    def keep_house(self) -> None:
        """What has to be done now and then: dead runs, missed runs, news that nobody was told, pushes that failed."""
        self._safely(self._end_dead_runs)
        self._safely(self._collapse)
        self._safely(self._tell)
        self._safely(self._push)

    def _end_dead_runs(self) -> None:
        found = deployments.find(self.home)
        owners.end_dead_flow_runs(self.home, str(found.id) if found else None)
        if not running(self.home):
            owners.end_dead_mlflow_runs(self.home, alone=False)

    def _collapse(self) -> None:
        deployments.collapse_missed(self.home, datetime.now(UTC))

    def _tell(self) -> None:
        announce.stale(self.home, datetime.now(UTC))
        announce.announce_pending(self.home)

    def _push(self) -> None:
        if not running(self.home):
            versioning.push_pending(self.home.root)


def event(name: str, source: str, payload: dict[str, Any], identity: str) -> dict[str, Any]:
    """A Prefect event; the same identity gives the same id, so that a repetition can be told from news."""
    return {
        "event": name,
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"perennial:{name}:{identity}")),
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": source},
        "related": [],
        "payload": payload,
    }


def main(root: str) -> None:
    """What `python -m pipelines.service.watcher WORKSPACE` does: watch it."""
    prepare_environment(Path(root))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    Watcher(Home(Path(root))).run(stop)


if __name__ == "__main__":
    main(sys.argv[1])
