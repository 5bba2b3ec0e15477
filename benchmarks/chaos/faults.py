"""The faults: what is broken, when, and what a person does about it, if anything."""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.chaos.world import PARTS, TooLong, World

Act = Callable[[World, random.Random], str]  # breaks a refresh; returns what happened, in words
ITSELF, UP, REFRESH = "by itself", "`perennial up`", "`perennial refresh`"
STAGES = (
    "ingest",
    "split",
    "clean",
    "select",
    "plan",
    "mix",
    "train",
    "merge",
    "evaluate",
    "gate",
    "compare",
    "replay",
    "conclude",
)
LATE = ("train", "evaluate", "conclude")  # the longest stages, with the most to lose


@dataclass(frozen=True)
class Case:
    """One way to break it."""

    name: str
    what: str
    act: Act
    recovery: str = ITSELF
    kills: int = 0
    served: bool = True  # needs the service; the others can be done to a refresh by hand as well
    needs_mount: bool = False


def cases() -> list[Case]:
    """All of them, in no particular order."""
    from benchmarks.chaos import damage, outages

    return [*kills(), *damage.cases(), *outages.cases()]


def kills() -> list[Case]:
    """SIGKILL at fifty moments: the refresh at each of its stages, and the parts around it, several in one refresh."""
    several = (
        [("deployments", "arrival"), ("flow", "start"), ("prefect", "ingest"), ("flow", "split")],
        [("prefect", "start"), ("flow", "ingest"), ("mlflow", "train"), ("flow", "merge")],
        [("mlflow", "start"), ("flow", "clean"), ("watcher", "train"), ("flow", "conclude")],
        [("watcher", "start"), ("flow", "select"), ("deployments", "train"), ("flow", "evaluate")],
        [("deployments", "ingest"), ("flow", "plan"), ("prefect", "evaluate"), ("flow", "replay")],
        [("mlflow", "arrival"), ("flow", "mix"), ("deployments", "conclude"), ("watcher", "conclude")],
        [("prefect", "train"), ("flow", "train"), ("flow", "gate")],
        [("flow", "train"), ("flow", "train"), ("mlflow", "conclude")],
        [("deployments", "train"), ("flow", "train"), ("prefect", "conclude")],  # nobody is left to say: crashed
        [("flow", "compare"), ("flow", "conclude"), ("deployments", "conclude")],
        [("deployments", "start"), ("prefect", "train"), ("mlflow", "evaluate"), ("watcher", "conclude")],
        [("mlflow", "train"), ("watcher", "evaluate"), ("prefect", "conclude")],
    )
    made = [_kill(strikes) for strikes in several]
    made += [
        _kill(strikes, UP) for strikes in ([("supervisor", "arrival"), ("flow", "train")], [("supervisor", "train")])
    ]
    cut = _kill([(target, "train") for target in ("supervisor", *PARTS, "flow")], UP)
    return [*made, replace(cut, name="kill-everything", what="SIGKILL of everything at once, while it trains")]


def _kill(strikes: list[tuple[str, str]], recovery: str = ITSELF) -> Case:
    def act(world: World, draw: random.Random) -> str:
        world.deliver()
        if not world.served:
            world.begin()
        hit, before = [], ""
        for target, stage in strikes:
            wait = 0.0 if stage == before else draw.uniform(0.0, 0.4 if stage in LATE else 0.02)
            at, before = world.reach(stage, wait), stage
            hit.append(f"{target} at {at}" if world.signal(target) else f"{target} was not there at {at}")
        if recovery == UP:
            world.begin()
        return ", ".join(hit)

    name = "-".join(f"{target}@{stage}" for target, stage in strikes)
    what = "SIGKILL of " + ", then of ".join(f"{target} at {stage}" for target, stage in strikes)
    by_hand = all(target == "flow" and stage in STAGES for target, stage in strikes)
    return Case(f"kill-{name}", what, act, recovery, kills=len(strikes), served=not by_hand)


def killed_with(world: World, damage: Callable[[World], str], at: str = "train", checkpoints: int = 0) -> str:
    """Kill the refresh of a new delivery at a moment, and damage something before the next attempt reads it."""
    world.deliver()
    if not world.served:
        world.begin()
    where = world.reach(at)
    deadline = time.monotonic() + 60
    while len(world.checkpoints()) < checkpoints and world.stage() == "train" and time.monotonic() < deadline:
        time.sleep(0.002)
    if not world.signal("flow"):
        raise TooLong(f"the refresh was over before it could be killed at {at}")
    return f"killed at {where}; {damage(world)}"


def stopped(world: World, part: str, at: str, seconds: float) -> str:
    """A part answers nobody for a while, and then goes on."""
    world.deliver()
    where = world.reach(at)
    world.signal(part, signal.SIGSTOP, group=True)
    time.sleep(seconds)
    world.signal(part, signal.SIGCONT, group=True)
    return f"{part} answered nobody for {seconds:.0f} s from {where} on"
