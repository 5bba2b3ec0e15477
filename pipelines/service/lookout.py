"""Notices at once that something has arrived: the kernel tells of local folders, other places are asked."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from watchfiles import watch

from pipelines.edge.settings import Inbox
from pipelines.service.arrivals import Folder
from pipelines.service.inbox import Inboxes, Scan, name_of

logger = logging.getLogger(__name__)
logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it tells of every change

SWEEP_SECONDS = 60.0  # how often local folders are looked at whatever the kernel told, and watched anew
ABSENT_SECONDS = 5.0  # the same, while the folder of one of them is not there
STEP_MILLISECONDS = 100  # how long the kernel's messages are gathered
BACK_OFF_SECONDS = 300.0  # at most, between two looks at a place that cannot be read
BREATH_SECONDS = 1.0  # at most, between two looks at a place in which something changes all the time
PARTING_SECONDS = 5.0  # how long a look that is under way is waited for at the end


class Lookout:
    """Looks at each inbox when something has happened there, and from time to time."""

    def __init__(self, inboxes: Inboxes) -> None:
        self.inboxes = inboxes
        self._wakes = {name: threading.Event() for name in inboxes.places}

    def take(self, task: str, address: str) -> bool:
        """Have the inboxes of a task that hold an address looked at now; false: none does."""
        holding = self.inboxes.holding(task, address)
        self._wake(name_of(inbox) for inbox in holding)
        return bool(holding)

    def scans(self, stop: threading.Event, tick_seconds: float = 1.0) -> Iterator[Scan | None]:
        """Every look that has news, as it comes, and none after a tick without; ends soon after `stop` is set.

        Raises:
            Exception: what no place is to blame for, from whichever thread.
        """
        found: queue.Queue[Scan | Exception] = queue.Queue()
        closing = threading.Event()

        def guarded(work: Callable[[], None]) -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - a thread must not die in silence
                found.put(error)

        works = [partial(self._tend, inbox, found.put, closing) for inbox in self.inboxes.inboxes]
        works.append(partial(self._listen, closing))
        threads = [threading.Thread(target=guarded, args=[work], daemon=True) for work in works]
        try:
            for thread in threads:
                thread.start()
            while not stop.is_set():
                try:
                    each = found.get(timeout=tick_seconds)
                except queue.Empty:
                    yield None
                    continue
                if isinstance(each, Exception):
                    raise each
                yield each
        finally:
            closing.set()
            self._wake(self._wakes)
            until = time.monotonic() + PARTING_SECONDS
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))

    def _tend(self, inbox: Inbox, tell: Callable[[Scan], None], closing: threading.Event) -> None:
        """Look at one inbox again and again."""
        wake = self._wakes[name_of(inbox)]
        num_failures = 0
        while True:
            wake.clear()
            if closing.is_set():
                return
            began = time.monotonic()
            scan = self.inboxes.scan(inbox)
            if scan.news:
                tell(scan)
            num_failures = num_failures + 1 if scan.problem else 0
            wait = min(BACK_OFF_SECONDS, 2.0 ** min(num_failures, 10)) if num_failures else inbox.poll_seconds
            closing.wait(min(BREATH_SECONDS, 2 * (time.monotonic() - began)))
            wake.wait(wait if scan.due_seconds is None else min(wait, scan.due_seconds))

    def _listen(self, closing: threading.Event) -> None:
        """Wake the inboxes of local folders in which something changes, and all of them at each sweep."""
        places = {name: place for name, place in self.inboxes.places.items() if isinstance(place, Folder)}
        said = ""
        while places and not closing.is_set():
            self._wake(places)
            try:
                self._listen_to(places, closing)
            except (OSError, RuntimeError) as error:  # no more folders can be watched, or one has just gone
                if str(error) != said:
                    logger.warning("the kernel tells nothing of inboxes (%s): they are looked at by the clock", error)
                said = str(error)
                closing.wait(SWEEP_SECONDS)

    def _listen_to(self, places: dict[str, Folder], closing: threading.Event) -> None:
        """Wake inboxes until the next sweep, or until the folder of one is another folder."""
        for place in places.values():
            place.make()
        folders = {str(place.path) for place in places.values() if place.path.is_dir()}
        until = time.monotonic() + (SWEEP_SECONDS if len(folders) == len(places) else ABSENT_SECONDS)
        if not folders:
            closing.wait(ABSENT_SECONDS)
            return
        missed = True  # what arrived before the kernel began to tell
        for changes in watch(
            *folders,
            watch_filter=None,
            step=STEP_MILLISECONDS,
            debounce=2 * STEP_MILLISECONDS,
            rust_timeout=1000,
            yield_on_timeout=True,
            stop_event=closing,
            raise_interrupt=False,
        ):
            changed = {path for _, path in changes}
            self._wake(name for name, place in places.items() if missed or _touches(changed, place))
            missed = False
            if changed & folders or time.monotonic() >= until:
                return

    def _wake(self, names: Iterable[str]) -> None:
        for name in names:
            self._wakes[name].set()


def _touches(changed: set[str], place: Folder) -> bool:
    return any(f"{path}/".startswith(f"{place.path}/") for path in changed)
