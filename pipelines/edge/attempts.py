"""One attempt from start to end: the lock, what a crash left, the batches that take part, the score, the ledger.

Every attempt has a line in the ledger when it starts and one when it ends: a verdict, `failed` or `stopped`. An attempt
whose process died gets its `failed` from the next one. Only a person repeats an attempt that was judged.
"""

import contextlib
import errno
import json
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import psutil

from pipelines.edge.holding import digest_of_landed
from pipelines.edge.home import Home
from pipelines.edge.outcome import Outcome
from pipelines.edge.session import BY_HAND, Progress, Session, attempt_of, pending
from pipelines.recipe import Recipe
from steps.core.artifacts import Landed
from steps.core.shards import write_json

logger = logging.getLogger(__name__)
Kind = Literal["data", "environment", "died"]
Batches = dict[str, list[str]]  # names of batches by task
ENVIRONMENT = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EIO,
    errno.EACCES,
    errno.EPERM,
    errno.EMFILE,
    errno.ESTALE,
}
SERVICES = {
    "requests",
    "urllib3",
    "httpx",
    "httpcore",
    "botocore",
    "aiohttp",
    "sqlite3",
    "sqlalchemy",
    "prefect",
    "mlflow",
    "dvc",
}
LONGEST_PAUSE = timedelta(hours=1)


def run_refresh(
    home: Home,
    recipe: Recipe,
    *,
    cause: str = BY_HAND,
    again: bool = False,
    wait: float = 0.0,
    progress: Progress | None = None,
    prefect: bool = True,
) -> Outcome:
    """One refresh, on all that waits; started by a schedule or an event, on what is ready by the workspace's rules.

    Raises:
        Busy: another process holds the workspace for longer than the wait, in seconds.
    """
    from pipelines.edge.conclude import read_outcome, settle
    from pipelines.edge.forget.work import finish_what_was_cut_off
    from pipelines.edge.orchestration import end_orphans
    from pipelines.edge.owners import end_dead_flow_runs, end_dead_mlflow_runs
    from pipelines.edge.registry import Registry
    from pipelines.refresh import refresh

    with home.lock(wait):
        end_orphans()
        finish_what_was_cut_off(home)
        settle(home, Registry(home))
        bury(home)
        end_dead_mlflow_runs(home)
        end_dead_flow_runs(home)
        running = Running(home, progress)
        choose = None if cause == BY_HAND else lambda found: ready(home, found, datetime.now(UTC))
        do = Session(home, recipe, again=again, progress=running.show, cause=cause, choose=choose, prefect=prefect)
        parent = do.current()
        found = pending(home, parent) if choose is None else choose(pending(home, parent))
        if not any(part.task.role == "train" for part in found.values()):
            return do.unchanged(parent)
        attempt = attempt_of(home, parent, recipe, found, again=False)
        if not again and (judged := home.judged(attempt)):
            return read_outcome(judged).model_copy(update={"repeated": True})
        batches = names_of(found)
        attempt = attempt_of(home, parent, recipe, found, again=again)
        facts = {"cause": cause, "recipe": recipe.name, "fingerprint": recipe.fingerprint(), "parent": parent.name}
        home.record("attempt", attempt=attempt, **facts, batches=batches)
        with running.as_owner(attempt, batches):
            try:
                outcome = refresh(do)
                if outcome.kind == "unchanged":  # all that was to be trained on is held
                    why = "; ".join(outcome.reasons)
                    home.record("stopped", attempt=attempt, by_hand=False, error=why, seconds=running.seconds)
                return outcome
            except Exception as error:
                with contextlib.suppress(Exception):  # the tracking server may be what failed
                    do.abandon("FAILED")
                fail(home, attempt, batches, error, running)
                raise
            except BaseException:  # Ctrl-C, SIGTERM, or as Prefect calls it: a termination signal
                with contextlib.suppress(Exception):
                    do.abandon("KILLED")
                home.record("stopped", attempt=attempt, by_hand=running.asked_to_stop, seconds=running.seconds)
                raise


class Running:
    """`.perennial/running.json`: who runs what now, and where it stands; gone once it has ended."""

    def __init__(self, home: Home, progress: Progress | None = None) -> None:
        self.home = home
        self.file = home.hidden / "running.json"
        self.stop_file = home.hidden / "stop"
        self.stage, self.what = "", ""
        self._progress = progress or (lambda stage, done, total, what: None)
        self._started = time.monotonic()
        self._facts: dict[str, Any] = {}

    @property
    def seconds(self) -> float:
        """Since it began."""
        return round(time.monotonic() - self._started, 1)

    @property
    def asked_to_stop(self) -> bool:
        """Whether a person called `perennial stop`."""
        return self.stop_file.exists()

    def show(self, stage: str, done: int, total: int, what: str) -> None:
        """Pass progress on; a stage that begins is written down, unless a person wants this refresh to end.

        Raises:
            KeyboardInterrupt: `perennial stop` was called; a signal that came at the end of training is not enough.
        """
        if total == 0 and self._facts and self.asked_to_stop:
            raise KeyboardInterrupt("stopped by hand")
        if total == 0:
            self.stage, self.what = stage, what
            self._write()
        self._progress(stage, done, total, what)

    @contextlib.contextmanager
    def as_owner(self, attempt: str, batches: Batches) -> Iterator[None]:
        """Own the workspace's attempt in the eyes of others, while it runs."""
        self.stop_file.unlink(missing_ok=True)
        process = psutil.Process()
        self._facts = {
            "attempt": attempt,
            "batches": batches,
            "pid": process.pid,
            "created": process.create_time(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._write()
        try:
            yield
        finally:
            self.file.unlink(missing_ok=True)
            self.stop_file.unlink(missing_ok=True)

    def _write(self) -> None:
        if self._facts:
            with contextlib.suppress(OSError):  # a full disk is told of by who writes what counts
                write_json(self.file, {**self._facts, "stage": self.stage, "what": self.what})


def running(home: Home) -> dict[str, Any] | None:
    """The attempt under way, if its process lives: attempt, batches, pid, created, since, stage, what."""
    facts = _written(home)
    return facts if facts and lives(home, facts) else None


def _written(home: Home) -> dict[str, Any]:
    """What the attempt under way, or the last that died, wrote of itself; a damaged file says nothing."""
    try:
        facts = json.loads((home.hidden / "running.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    whole = isinstance(facts, dict) and {"attempt", "batches", "pid", "created"} <= facts.keys()
    return facts if whole else {}


def lives(home: Home, owner: Mapping[str, Any]) -> bool:
    """Whether the process that wrote its name down lives; one of another host does while the workspace is held."""
    if owner.get("host", socket.gethostname()) != socket.gethostname():
        return home.is_held
    return alive(owner["pid"], owner["created"])


def alive(pid: int, created: float) -> bool:
    """Whether this very process lives: no other one that got its number, and none that only waits to be counted out."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - created) < 1.0
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)  # for ever, in a container without an init
    except psutil.Error:
        return False


def stop(home: Home) -> dict[str, Any] | None:
    """Ask the attempt under way to end after its next checkpoint; returns its facts, none if nothing runs.

    Raises:
        ValueError: it runs on another host.
    """
    import signal

    facts = running(home)
    if facts:
        if facts.get("host", socket.gethostname()) != socket.gethostname():
            raise ValueError(f"the refresh under way runs on {facts['host']}; stop it there, or cancel it in Prefect")
        (home.hidden / "stop").write_text(facts["attempt"], encoding="utf-8")
        os.kill(facts["pid"], signal.SIGTERM)
    return facts


def bury(home: Home) -> None:
    """Write `failed` for attempts that began and whose process died before it wrote their end. Hold the lock."""
    facts = _written(home)
    for event in unended(home.ledger()):
        known = facts if facts.get("attempt") == event["attempt"] else {}
        blamed = _blamed(event["batches"], known.get("stage", ""), known.get("what", ""))
        seconds = 0.0
        if known:
            lived = (home.hidden / "running.json").stat().st_mtime - datetime.fromisoformat(event["time"]).timestamp()
            seconds = round(max(0.0, lived), 1)
        where = f" in {known['stage']}" if known.get("stage") else ""
        error = f"its process died{where}"
        home.record("failed", attempt=event["attempt"], kind="died", blamed=blamed, error=error, seconds=seconds)
    (home.hidden / "running.json").unlink(missing_ok=True)
    hold_failing(home)


def unended(ledger: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The starts of attempts that have no end."""
    began: dict[str, dict[str, Any]] = {}
    for event in ledger:
        if event["event"] == "attempt":
            began[event["attempt"]] = event
        elif event["event"] in {"verdict", "failed", "stopped"}:
            began.pop(event["attempt"], None)
    return list(began.values())


def fail(home: Home, attempt: str, batches: Batches, error: BaseException, at: Running) -> None:
    """Write down a failure, and hold the batches that have failed too often."""
    kind = kind_of(error)
    blamed = _blamed(batches, at.stage, at.what) if kind == "data" else {}
    text = f"{type(error).__name__}: {error}"[:500]
    try:
        home.record("failed", attempt=attempt, kind=kind, blamed=blamed, error=text, stage=at.stage, seconds=at.seconds)
        hold_failing(home)
    except OSError as also:  # a full disk or a read-only folder: the next attempt writes that this one died
        logger.error("the ledger could not be written: %s", also)


def kind_of(error: BaseException) -> Kind:
    """Whether the machine and its services are to blame, which passes, or what was landed."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ConnectionError | TimeoutError) or type(seen).__module__.split(".")[0] in SERVICES:
            return "environment"
        if isinstance(seen, OSError) and seen.errno in ENVIRONMENT:
            return "environment"
        seen = seen.__cause__ or seen.__context__
    return "data"


def _blamed(batches: Mapping[str, list[str]], stage: str, what: str) -> Batches:
    """A stage that works on one task blames that task alone."""
    if stage == "ingest" and what in batches:
        return {what: list(batches[what])}
    return {task: list(names) for task, names in batches.items()}


def failures(home: Home, kind: Kind | None = None) -> Counter[tuple[str, str]]:
    """How often each batch was blamed since it was last released, for one kind or any: (task, batch) -> attempts."""
    counted: Counter[tuple[str, str]] = Counter()
    for event in home.ledger():
        if event["event"] == "failed" and kind in {None, event["kind"]}:
            counted.update((task, name) for task, names in event["blamed"].items() for name in names)
        elif event["event"] == "release":
            counted.pop((event["task"], event["batch"]), None)
    return counted


def hold_failing(home: Home) -> None:
    """Hold the batches that were blamed as often as the workspace allows."""
    allowed, aside = home.settings.failures_before_hold, home.held()
    for (task, batch), count in sorted(failures(home).items()):
        if count >= allowed and (task, batch) not in aside and (home.root / "data/landing" / task / batch).exists():
            last = [e for e in home.ledger() if e["event"] == "failed" and batch in e["blamed"].get(task, ())][-1]
            why = f"{count} failed attempts; the last: {last['error']}"
            home.record("hold", task=task, batch=batch, why=why, by_rule=True)


def ready(home: Home, found: Mapping[str, Landed], now: datetime) -> dict[str, Landed]:
    """What a schedule or an event may take: nothing in its review window, and what has failed apart from the rest.

    Tasks that never broke a refresh go together, with the replay-only ones. Where all have, the one that failed least
    goes alone: so a batch that breaks refreshes is found, held, and the other tasks go on. A process that died blames
    nobody yet, so the same attempt goes on from its checkpoints, until one more death would hold what it was with.
    """
    settings, seen = home.settings, {}
    for task, part in found.items():
        trigger = settings.trigger(task)
        review = trigger.review if trigger else timedelta(0)
        batches = tuple(b for b in part.batches if not review or now - datetime.fromisoformat(b.time) >= review)
        if batches:
            seen[task] = narrowed(home, part, batches)
    counts, broke, last = failures(home), failures(home, "data"), settings.failures_before_hold - 1
    failed = {task: max(counts[task, b.name] for b in part.batches) for task, part in seen.items()}
    apart = {
        task for task, part in seen.items() if failed[task] >= last or any(broke[task, b.name] for b in part.batches)
    }
    training = [task for task, part in seen.items() if part.task.role == "train"]
    others = [task for task in seen if task not in training]
    clean = [task for task in training if task not in apart]
    if clean or not training:
        return {task: part for task, part in seen.items() if task in {*clean, *others}}
    least = min(training, key=lambda task: failed[task])
    return {task: seen[task] for task in seen if task == least or (task in others and task not in apart)}


def narrowed(home: Home, part: Landed, batches: tuple[Any, ...]) -> Landed:
    """A task's landing with some of its batches."""
    if batches == part.batches:
        return part
    digest = digest_of_landed(home.root, part.task, batches)
    return part.model_copy(update={"batches": batches, "digest": digest})


def names_of(found: Mapping[str, Landed]) -> Batches:
    """The names of the batches, by task."""
    return {task: [batch.name for batch in part.batches] for task, part in found.items()}
