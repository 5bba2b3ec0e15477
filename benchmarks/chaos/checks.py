"""What must hold after every fault, by the ledger, the registry and the bytes; and what was to be expected."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.chaos.world import World, delivery, furnish
from pipelines.edge import landing
from pipelines.edge.attempts import unended
from pipelines.edge.home import Home
from pipelines.edge.registry import WEIGHTS, Registry
from pipelines.edge.versioning import push_waits
from tests.workspaces import NOW, run

COUNTED = ("kept", "held_out", "superseded")


@dataclass(frozen=True)
class Refreshed:
    """What came of one delivery."""

    attempt: str = field(compare=False)  # a file in the inbox lands at another time than one that a person lands
    verdict: str
    version: str
    weights: str
    counts: tuple[tuple[str, int], ...]


class Undisturbed:
    """The same deliveries, refreshed one after the other with nothing in the way; made as far as is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = furnish(folder / "undisturbed")
        self._known: list[Refreshed] = []

    def upto(self, number: int) -> list[Refreshed]:
        """What came of the deliveries up to one."""
        from pipelines.recipe import load_recipe

        while len(self._known) <= number:
            if self._known:
                task, path = delivery(self.folder / "outbox", len(self._known))
                landing.land(self.home.root, task, [path], now=NOW)
            run(self.home, load_recipe(self.home.root / "chaos.yaml"))
            self._known = refreshed(self.home)
        return self._known[: number + 1]


def refreshed(home: Home) -> list[Refreshed]:
    """What the ledger and the registry say of each judged attempt."""
    tags = {version.number: version.tags for version in Registry(home).versions()}
    return [
        Refreshed(
            event["attempt"],
            event["verdict"],
            event["version"],
            tags[event["version"]].get("perennial.weights", "none") if event["version"] in tags else "no such version",
            tuple((row["task"], row["landed"]) for row in (event["outcome"] or {"rows": ()})["rows"]),
        )
        for event in home.ledger()
        if event["event"] == "verdict"
    ]


def problems(world: World, undisturbed: Undisturbed) -> list[str]:
    """Everything that is not as it should be; empty if nothing was lost."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # the workspace's own file says what its server knows
    home, ledger = world.home, world.home.ledger()
    registry = Registry(home)
    number = registry.champion()
    if number is None:
        return ["there is no champion"]
    found = champion_unharmed(home, registry, number, ledger)
    found += conserved(ledger)
    found += exactly_once(home, registry, number, ledger)
    wanted, got = undisturbed.upto(world.delivered), refreshed(home)
    for delivered, (one, other) in enumerate(zip(wanted, got, strict=False)):
        if one != other:
            found.append(f"delivery {delivered}: undisturbed it gives {one}, here {other}")
    if len(wanted) != len(got):
        found.append(f"{len(got)} verdicts on {len(wanted)} deliveries")
    if home.held():
        found.append(f"held: {sorted(home.held())}")
    return found


def champion_unharmed(home: Home, registry: Registry, number: str, ledger: list[dict[str, Any]]) -> list[str]:
    """The weights that serve are those that were registered, and it moved only to what was accepted."""
    from steps.core.models import digest_of_model, load_model

    weights = registry.folder(number) / WEIGHTS
    found = []
    if (digest := digest_of_model(weights)) != registry.get(number).tags["perennial.weights"]:
        found.append(f"champion {number}: its weights are {digest[:12]}, registered as another")
    load_model(weights)
    accepted = {event["version"] for event in ledger if event["event"] == "verdict" and event["verdict"] == "accepted"}
    moves = [event["after"] for event in ledger if event["event"] == "alias" and event["alias"] == "champion"]
    if set(moves) - accepted:
        found.append(f"champion moved to {sorted(set(moves) - accepted)}, which was not accepted")
    if moves[-1:] != [number]:
        found.append(f"champion is {number}, by the ledger {moves[-1:]}")
    return found


def conserved(ledger: list[dict[str, Any]]) -> list[str]:
    """Landed = kept + held out + dropped + quarantined + superseded, in every task of every verdict."""
    found = []
    for event in ledger:
        if event["event"] != "verdict":
            continue
        if not event.get("outcome"):
            found.append(f"the verdict on attempt {event['attempt'][:8]} has no outcome")
            continue
        for row in event["outcome"]["rows"]:
            parts = sum(row[name] for name in COUNTED) + sum(row["dropped"].values()) + sum(row["quarantined"].values())
            if parts != row["landed"]:
                found.append(f"version {event['version']}, {row['task']}: {row['landed']} landed, {parts} found again")
    return found


def exactly_once(home: Home, registry: Registry, number: str, ledger: list[dict[str, Any]]) -> list[str]:
    """Every batch consumed once on the champion's line, every attempt with one end."""
    champion = registry.version(number)
    there = {(task, batch.name) for task in landing.load_tasks(home.root) for batch in landing.batches(home.root, task)}
    consumed = Counter((task, name) for task, names in champion.consumed.items() for name in names)
    found = [f"{task}/{name} was consumed {count} times" for (task, name), count in consumed.items() if count > 1]
    if there - set(consumed):
        found.append(f"never consumed: {sorted(there - set(consumed))}")
    if set(consumed) - there:
        found.append(f"consumed, but not there: {sorted(set(consumed) - there)}")
    parents = {e["version"]: e["parent"] for e in ledger if e["event"] == "verdict" and e["verdict"] == "accepted"}
    starts = {e["attempt"]: e["batches"] for e in ledger if e["event"] == "attempt"}
    attempts = {e["version"]: e["attempt"] for e in ledger if e["event"] == "verdict"}
    taken: Counter[tuple[str, str]] = Counter()
    at: str | None = number
    while at in parents:
        taken.update((task, name) for task, names in starts.get(attempts[at], {}).items() for name in names)
        at = parents[at]
    found += [f"{task}/{name} is new in {n} versions of the line" for (task, name), n in taken.items() if n > 1]
    found += [f"attempt {event['attempt'][:8]} has no end in the ledger" for event in unended(ledger)]
    judged = Counter(event["attempt"] for event in ledger if event["event"] == "verdict")
    found += [f"attempt {attempt[:8]} was judged {n} times" for attempt, n in judged.items() if n > 1]
    if push_waits(home.root):
        found.append("a push to the DVC remote still waits")
    return found
