"""Watched places → landings: what is new or has changed in a place, and holds still, lands as one batch.

Files of a place are never changed, moved or deleted, and one that goes away there withdraws nothing. A file lands
under its path below the place; so a changed one lands again, and what it holds supersedes what it held. Archives are
not unpacked.

Two memories keep a version of a file from landing twice. `.perennial/service/inbox.json` holds what was seen in each
place, so that nothing is copied twice. The landed batches themselves are asked before anything lands, so that a
crash, a lost memory or a second watcher makes no difference; and what was in a batch that is gone lands again. What a
person withdrew stays so until the file changes.
"""

import fcntl
import itertools
import logging
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.edge.home import Home
from pipelines.edge.landing import LANDING, batches, land, load_tasks
from pipelines.edge.settings import Inbox
from pipelines.service.arrivals import FULL, Found, Room, place_of
from steps.core.artifacts import Batch
from steps.core.manifest import read_manifest
from steps.core.shards import digest_of_file, write_atomic

logger = logging.getLogger(__name__)

MEMORY = "service/inbox.json"
LOCK = "service/inbox.lock"
ARRIVING = "service/arriving"  # copies on their way into the landing area
TOGETHER_SECONDS = 5.0  # how long settled files wait for those beside them that are still being written


class Remembered(BaseModel):
    """What is known of one place."""

    model_config = ConfigDict(extra="forbid")

    taken: dict[str, tuple[str, str]] = {}  # name -> mark, and the batch that holds it ("": under another name)
    refused: dict[str, str] = {}  # name -> why it cannot land
    problem: str = ""  # why nothing can


class Memory(BaseModel):
    """What is known of all places, by task and address."""

    model_config = ConfigDict(extra="forbid")

    inboxes: dict[str, Remembered] = {}

    def of(self, inbox: Inbox) -> Remembered:
        """What is known of one place; it may be changed."""
        return self.inboxes.setdefault(name_of(inbox), Remembered())


@dataclass(frozen=True, slots=True)
class Scan:
    """What one look at a place came to."""

    inbox: Inbox
    batch: Batch | None = None
    num_files: int = 0
    num_bytes: int = 0
    refused: dict[str, str] = field(default_factory=dict)  # those that were not refused before, with the reason
    problem: str = ""  # why nothing of the place could land
    news: bool = False  # whether anything landed, was refused, or went wrong or right again
    due_seconds: float | None = None  # until a file that was still being written may have settled


def sweep_inboxes(home: Home) -> list[Scan]:
    """Look once at every watched place of a workspace: at each start of a refresh, for what events missed."""
    return Inboxes(home).sweep() if home.settings.inbox else []


def name_of(inbox: Inbox) -> str:
    """How an inbox is called in its memory."""
    return f"{inbox.task} {inbox.address}"


def read_memory(home: Home) -> Memory:
    """What is known of all places: for `perennial status`; a damaged memory is an empty one.

    Raises:
        OSError: the file cannot be read.
    """
    path = home.hidden / MEMORY
    try:
        return Memory.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Memory()
    except ValidationError:
        logger.warning("%s: damaged, so every file is looked at anew; nothing lands twice", path)
        return Memory()


class Inboxes:
    """The watched places of a workspace.

    Raises:
        ValueError: an address or a pattern in perennial.yaml does not fit.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self.inboxes = home.settings.inbox
        self.places = {name_of(inbox): place_of(home, inbox) for inbox in self.inboxes}
        for one, other in itertools.permutations(self.inboxes, 2):
            if one.task == other.task and self._holds(one, self.places[name_of(other)].address):
                raise ValueError(
                    f"{home.root / 'perennial.yaml'}: inboxes {one.address} and {other.address} of task {one.task} "
                    "overlap, so a file would land twice; keep one of them"
                )
        self._read: tuple[tuple[int, int] | None, Memory] = (None, Memory())
        self._said: dict[str, tuple[dict[str, str], str]] = {}  # by inbox: what is refused, and the problem
        self._since: dict[str, dict[str, tuple[str, float]]] = {}
        self._alone = {name: threading.Lock() for name in self.places}

    def sweep(self) -> list[Scan]:
        """Look at every place once."""
        return [self.scan(inbox) for inbox in self.inboxes]

    def holding(self, task: str, address: str) -> list[Inbox]:
        """The inboxes of a task in whose places an address lies, whatever it is spelled like."""
        return [inbox for inbox in self.inboxes if inbox.task == task and self._holds(inbox, address)]

    def _holds(self, inbox: Inbox, address: str) -> bool:
        return self.places[name_of(inbox)].holds(address)

    def scan(self, inbox: Inbox) -> Scan:
        """Land what is new or has changed in a place, and has settled; a place that cannot be read is a `problem`."""
        with self._alone[name_of(inbox)]:
            try:
                return self._scan(inbox)
            except FileNotFoundError as error:  # perhaps nothing is there yet: it is looked for as often as ever
                return self._told(Scan(inbox, problem=_reason(error), due_seconds=inbox.poll_seconds))
            except (OSError, ValueError) as error:
                return self._told(Scan(inbox, problem=_reason(error)))

    def _scan(self, inbox: Inbox) -> Scan:
        tasks = load_tasks(self.home.root)
        if inbox.task not in tasks:
            raise ValueError(f"no task {inbox.task!r} in data/tasks.yaml; there are: {', '.join(tasks) or 'none'}")
        listing = self.places[name_of(inbox)].look()
        known = self._known()
        before = known.inboxes.get(name_of(inbox), Remembered())
        there = _names(self.home.root / LANDING / inbox.task) | {""}
        taken = {name: mark for name, (mark, batch) in before.taken.items() if batch in there}
        fresh = [each for each in listing.files if taken.get(each.name) != each.mark]
        clashes = self._clashes(known, inbox, {each.name for each in fresh}) if fresh else {}
        fresh = [each for each in fresh if each.name not in clashes]
        settled, due_seconds = self._settled(inbox, fresh)
        scan = self._take(inbox, settled, {each.name for each in listing.files}) if settled else Scan(inbox)
        waiting = {each.name for each in fresh} - {each.name for each in settled}
        still = {name: why for name, why in before.refused.items() if name in waiting}
        refused = {**still, **listing.refused, **clashes, **scan.refused}
        return self._told(replace(scan, refused=refused, due_seconds=due_seconds))

    def _told(self, scan: Scan) -> Scan:
        """The same look, with what was not said before; it is logged, and remembered for `perennial status`."""
        inbox, problem = scan.inbox, scan.problem
        try:
            known = self._known().inboxes.get(name_of(inbox), Remembered())
        except OSError:  # which is the problem, then
            known = Remembered()
        said, trouble = self._said.get(name_of(inbox), (known.refused, known.problem))
        refused = said if problem else scan.refused
        new = {name: why for name, why in refused.items() if said.get(name) != why}
        for name, why in new.items():
            logger.warning("%s: %s: not landed: %s", inbox.address, name, why)
        if problem and problem != trouble:
            logger.warning("%s: nothing can land for %s: %s", inbox.address, inbox.task, problem)
        self._said[name_of(inbox)] = (refused, problem)
        if (refused, problem) != (known.refused, known.problem):
            with suppress(OSError), self._memory_to_change() as memory:  # a full disk: it is in the log
                memory.of(inbox).refused, memory.of(inbox).problem = refused, problem
        return replace(scan, refused=new, news=bool(scan.batch or new or problem != trouble))

    def _clashes(self, known: Memory, inbox: Inbox, names: set[str]) -> dict[str, str]:
        """Those names under which another inbox of the task has landed a file, and why that will not do."""
        clashes = {}
        for other in self.inboxes:
            if other.task == inbox.task and other != inbox:
                for name in names & known.inboxes.get(name_of(other), Remembered()).taken.keys():
                    clashes[name] = f"a file of this name has landed from {other.address}; rename one of them"
        return clashes

    def _settled(self, inbox: Inbox, fresh: Sequence[Found]) -> tuple[list[Found], float | None]:
        """The files to take now; and, if others are still being written, in how many seconds to look again.

        How long a file has not changed is counted from its time of change when it is first seen, and from then on by
        this process alone, so that a clock that jumps neither takes half a file nor leaves one for ever.
        """
        now, clock = time.monotonic(), time.time()
        before, since = self._since.get(name_of(inbox), {}), {}
        for each in fresh:
            mark, start = before.get(each.name, ("", now))
            if mark != each.mark:
                start = now if each.changed is None else now - max(0.0, clock - each.changed)
            since[each.name] = (each.mark, start)
        self._since[name_of(inbox)] = since
        ages = {each.name: now - since[each.name][1] - inbox.settle_seconds for each in fresh}
        settled = [each for each in fresh if ages[each.name] >= 0]
        if len(settled) == len(fresh):
            return settled, None
        due_seconds = min(-age for age in ages.values() if age < 0)
        waited = max((ages[each.name] for each in settled), default=0.0)
        if settled and waited < TOGETHER_SECONDS:
            return [], min(due_seconds, TOGETHER_SECONDS - waited)
        return settled, due_seconds

    def _take(self, inbox: Inbox, settled: Sequence[Found], present: set[str]) -> Scan:
        """Copy files, land those copies that have not landed, and remember all."""
        with self._arriving() as folder:
            Room(folder).take(sum(each.num_bytes for each in settled))
            copied, refused = self._copy(inbox, settled, folder)
            with self._memory_to_change() as memory:
                clashes = self._clashes(memory, inbox, set(copied))
                landed = _landed(self.home.root, inbox.task) if copied else {}
                num_bytes = {}
                for name in copied:
                    path = folder / name
                    if name in clashes or landed.get(name, ("",))[0] == digest_of_file(path):
                        path.unlink()
                    else:
                        num_bytes[name] = path.stat().st_size
                batch = land(self.home.root, inbox.task, [folder], now=datetime.now(UTC)) if num_bytes else None
                taken = {name: each for name, each in memory.of(inbox).taken.items() if name in present}
                for name in copied.keys() - clashes.keys():
                    holder = (batch.name if batch else "") if name in num_bytes else landed[name][1]
                    taken[name] = (copied[name], holder)
                memory.of(inbox).taken = taken
        num_files, total = (len(num_bytes), sum(num_bytes.values())) if batch else (0, 0)
        return Scan(inbox, batch, num_files, total, refused | clashes)

    def _copy(self, inbox: Inbox, settled: Sequence[Found], folder: Path) -> tuple[dict[str, str], dict[str, str]]:
        """Copy files: the marks of those that held still, and why others cannot be read."""
        place, room = self.places[name_of(inbox)], Room(folder)
        copied: dict[str, str] = {}
        unreadable: dict[str, str] = {}
        for each in settled:
            target = folder / each.name
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                if place.copy(each, target, room):
                    copied[each.name] = each.mark
                else:
                    target.unlink(missing_ok=True)
            except OSError as error:
                if error.errno in FULL:
                    raise
                unreadable[each.name] = f"cannot be copied: {_reason(error)[:300]}"
                with suppress(OSError):
                    target.unlink()
        return copied, unreadable

    @contextmanager
    def _arriving(self) -> Iterator[Path]:
        """A folder for copies, locked while its process lives; those of dead ones are removed."""
        above = self.home.hidden / ARRIVING
        above.mkdir(parents=True, exist_ok=True)
        with self._lock():
            for leftover in above.iterdir():
                _remove_if_dead(leftover)
            folder = Path(tempfile.mkdtemp(dir=above))
            handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)

    def _known(self) -> Memory:
        """The memory, not to be changed, and read again only when it was written."""
        try:
            status = (self.home.hidden / MEMORY).stat()
            mark = (status.st_mtime_ns, status.st_ino)
        except FileNotFoundError:
            mark = None
        if mark != self._read[0]:
            self._read = (mark, read_memory(self.home))
        return self._read[1]

    @contextmanager
    def _memory_to_change(self) -> Iterator[Memory]:
        """The memory, alone among all threads and processes; written when it was changed and nothing went wrong."""
        with self._lock():
            memory = read_memory(self.home)
            before = memory.model_dump_json()
            yield memory
            after = memory.model_dump_json()
            if after != before:
                write_atomic(self.home.hidden / MEMORY, after)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        path = self.home.hidden / LOCK
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _landed(root: Path, task: str) -> dict[str, tuple[str, str]]:
    """The digest of what landed last under each name, and its batch."""
    manifests = [read_manifest(root / batch.path) for batch in batches(root, task)]
    return {file.name: (file.sha256, manifest.name) for manifest in manifests for file in manifest.files}


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _reason(error: Exception) -> str:
    """An error's text without the chance names of our own folders, so that the same error is the same reason."""
    return re.sub(rf"(?<=\.partial-)\w+|(?<={ARRIVING}/)\w+", "…", str(error))


def _remove_if_dead(folder: Path) -> None:
    """Remove copies, unless the process that makes them still holds the folder's lock."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(handle)
