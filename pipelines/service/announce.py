"""Tells Prefect and people what happened: every verdict, failure, held batch and overdue refresh, at least once.

The ledger says what happened, and in lines called `told` who was told of it. What could not be told is tried again
by the next call, later and later; a channel that is added later is not told of what was before it.
"""

import contextvars
import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.edge.home import Home
from pipelines.edge.settings import Channel
from pipelines.service.messages import Event, Message, identity, message, prefect_events, word

logger = logging.getLogger(__name__)
Ways = dict[str, Channel | None]  # who can be told, by name; None stands for Prefect's events
PREFECT = "prefect events"
OK = "ok"
TOLD_WITHIN = timedelta(days=7)
TRIES = 5
FIRST_PAUSE = timedelta(minutes=1)  # after the first failure; then five times as long each time: 1, 5, 25, 125 minutes
LIMIT_SECONDS = 60.0  # for one channel
BODY_BYTES = 20_000

logging.getLogger("apprise").addHandler(logging.NullHandler())
logging.getLogger("apprise").propagate = False  # it logs addresses, and these hold passwords
logging.getLogger("httpx").setLevel(logging.WARNING)  # so does this one, at INFO


def announce_pending(home: Home, now: datetime | None = None) -> list[dict[str, Any]]:
    """Tell of all that happened in the last week and was not told yet; returns what was written as `told`.

    It never raises for a channel's sake: what failed is in the ledger, and is tried again later, a few times.
    """
    now, told = now or datetime.now(UTC), []
    try:
        with _alone(home):
            ledger, ways = home.ledger(), channels(home)
            rows = _told(ledger)
            for event in ledger:
                if word(event) and now - _time(event) < TOLD_WITHIN:
                    names = _due(ways, event, rows.get(identity(event)), now)
                    if names is not None:
                        told.append(_announce(home, {name: ways[name] for name in names}, event, ledger))
    except (OSError, ValueError) as error:  # a full disk, a broken perennial.yaml: no reason to break a refresh
        logger.warning("nobody could be told: %s", error)
    return told


def _announce(home: Home, ways: Ways, event: Event, ledger: list[dict[str, Any]]) -> dict[str, Any]:
    """Tell these channels of one event, and write down how that went."""
    results = {name: _tell(home, channel, event, ledger) for name, channel in ways.items()}
    for name, result in results.items():
        if result != OK:
            logger.warning("%s could not be told of %s: %s", name, word(event), result)
    about = {key: event[key] for key in ("attempt", "version", "task", "batch") if key in event}
    told = {"of": identity(event), "what": word(event), "channels": results, **about}
    home.record("told", **told)
    return told


def channels(home: Home) -> Ways:
    """Who can be told: the channels of `perennial.yaml`, and Prefect where there is a server."""
    found: Ways = {}
    serving = (home.hidden / "service" / "state.json").exists()
    if os.environ.get("PREFECT_API_URL") or home.settings.servers.prefect or serving:
        found[PREFECT] = None
    for channel in home.settings.notifications:
        found[f"block {channel.block}" if channel.block else f"variable {channel.variable}"] = channel
    return found


def stale(home: Home, now: datetime) -> dict[str, Any] | None:
    """Write down that no refresh was accepted for too long, at most once a day; returns the event."""
    allowed, ledger = home.settings.alert_after_days, home.ledger()
    since = last_accepted(home, ledger)
    if allowed is None or since is None or now - since <= timedelta(days=allowed):
        return None
    if any(abs(now - _time(event)) < timedelta(days=1) for event in ledger if event["event"] == "stale"):
        return None
    days = round((now - since) / timedelta(days=1), 1)
    home.record("stale", days=days, since=since.isoformat(timespec="seconds"))
    return home.ledger()[-1]


def last_accepted(home: Home, ledger: list[dict[str, Any]]) -> datetime | None:
    """When a refresh was accepted last, by the gate or by hand; before the first, when data landed first."""
    from pipelines.edge import landing

    undecided = {e["version"] for e in ledger if e["event"] == "verdict" and e["verdict"] == "undecided"}
    accepted = [
        _time(event)
        for event in ledger
        if word(event) == "accepted" or (word(event) == "moved" and event["after"] in undecided)
    ]
    if accepted:
        return max(accepted)
    tasks = landing.load_tasks(home.root)
    landed = [datetime.fromisoformat(batch.time) for task in tasks for batch in landing.batches(home.root, task)]
    return min(landed, default=None)


def emit(events: list[dict[str, Any]]) -> None:
    """Hand events to the Prefect server, which has them when this returns.

    Raises:
        RuntimeError: `PREFECT_API_URL` names no server.
        httpx.HTTPError: the server did not take them.
    """
    if not os.environ.get("PREFECT_API_URL"):
        raise RuntimeError("PREFECT_API_URL is not set")  # Prefect would start a server of its own, and drop it
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:  # knows of passwords, keys and certificates
        client._client.post("/events", json=events).raise_for_status()


def _due(ways: Ways, event: Event, rows: list[dict[str, Any]] | None, now: datetime) -> list[str] | None:
    """The channels to tell of an event now; None: nothing is due, not even a line that nobody listens."""
    if rows is None:
        return [name for name, channel in ways.items() if channel is None or word(event) in channel.on]
    due = []
    for name in rows[0]["channels"]:
        tries = [row for row in rows if name in row["channels"]]
        pause = FIRST_PAUSE * 5 ** (len(tries) - 1)
        failed = all(row["channels"][name] != OK for row in tries)
        if name in ways and failed and len(tries) < TRIES and now - _time(tries[-1]) >= pause:
            due.append(name)
    return due or None


def _told(ledger: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for event in ledger:
        if event["event"] == "told":
            rows.setdefault(event["of"], []).append(event)
    return rows


def _tell(home: Home, channel: Channel | None, event: Event, ledger: list[dict[str, Any]]) -> str:
    """How it went: `ok`, or the class of what went wrong, for its text may hold an address."""
    if channel is None:
        return _within(LIMIT_SECONDS, lambda: emit(list(prefect_events(home, event, ledger))))
    said = message(home, event)
    return _within(LIMIT_SECONDS, lambda: _send(channel, said))


def _send(channel: Channel, said: Message) -> None:
    body = said.body if len(said.body) <= BODY_BYTES else said.body[:BODY_BYTES] + "\n…\n"
    if channel.block:
        from prefect.blocks.abstract import NotificationBlock
        from prefect.blocks.core import Block

        block: Any = Block.load(channel.block)
        if not isinstance(block, NotificationBlock):
            raise TypeError(f"block {channel.block}: wanted one that notifies, found {type(block).__name__}")
        with block.raise_on_failure():
            block.notify(body, subject=said.subject)
        return
    from apprise import Apprise, NotifyFormat

    address = os.environ.get(channel.variable or "")
    if not address:
        raise LookupError(f"{channel.variable} is not set")
    people = Apprise()
    if not people.add(address):
        raise ValueError(f"{channel.variable}: no address that Apprise knows")
    if not people.notify(body=body, title=said.subject, body_format=NotifyFormat.MARKDOWN):
        raise ConnectionError(f"{channel.variable}: not delivered")


def _within(seconds: float, work: Callable[[], None]) -> str:
    """Do it in a thread of its own: a server that never answers must not keep a refresh from ending."""
    ended = [TimeoutError.__name__]

    def run() -> None:
        try:
            work()
            ended[0] = OK
        except Exception as error:  # noqa: BLE001 - whatever it is, the refresh goes on; its class is written down
            ended[0] = type(error).__name__

    settings = contextvars.copy_context()  # Prefect keeps its settings there, and a new thread has none
    thread = threading.Thread(target=settings.run, args=[run], daemon=True)
    thread.start()
    thread.join(seconds)
    return ended[0]


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    """One teller at a time, or two would tell the same; the kernel lets go when a process dies."""
    home.hidden.mkdir(parents=True, exist_ok=True)
    with (home.hidden / "announce.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _time(event: Event) -> datetime:
    return datetime.fromisoformat(event["time"])
