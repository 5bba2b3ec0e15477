"""What goes away for a while: the disk's room, its writability, servers, the remote; and what comes too often."""

import contextlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.chaos.faults import Case, stopped
from benchmarks.chaos.world import World, until
from pipelines.edge import versioning
from pipelines.service.addresses import service
from pipelines.service.watcher import event

MINUTE = 60.0
FLOOD_SECONDS = 900.0  # one server makes a thousand runs of a thousand events first


def cases() -> list[Case]:
    """All outages and floods."""
    return [
        Case("disk-full-train", "the disk is full for 20 s while it trains", _full_at("train"), needs_mount=True),
        Case(
            "disk-full-conclude", "the disk is full for 20 s while it concludes", _full_at("conclude"), needs_mount=True
        ),
        Case("disk-full-arrival", "the disk is full for 20 s when data arrives", _full_at("arrival"), needs_mount=True),
        Case(
            "read-only-train", "data/ is read-only for 20 s while it trains", _read_only_at("train"), needs_mount=True
        ),
        Case("read-only-arrival", "data/ is read-only for 20 s at the start", _read_only_at("start"), needs_mount=True),
        Case("mlflow-stopped", "the MLflow server answers nobody for a minute", _stopped("mlflow", "train")),
        Case("mlflow-gone", "the MLflow server is gone for a minute", _gone("mlflow", "train")),
        Case("mlflow-gone-conclude", "the MLflow server is gone for a minute, late", _gone("mlflow", "conclude")),
        Case("prefect-stopped", "the Prefect server answers nobody for a minute", _stopped("prefect", "train")),
        Case("prefect-gone", "the Prefect server is gone for a minute", _gone("prefect", "train")),
        Case("remote-gone", "the DVC remote is gone for a minute", _remote_gone),
        Case("events-thousand", "a thousand data.landed and a thousand refresh.due at once", _flood),
        Case("events-duplicate", "the same refresh.due twenty times, and five others", _duplicates),
        Case("watchers-two", "a second watcher on the same workspace", _two_watchers),
        Case("arrival-during-run", "a file arrives in the inbox while a refresh runs", _during_run),
        Case("clock-forward", "the watcher's clock is a day ahead", _clock("+1d")),
        Case("clock-back", "the watcher's clock is a day behind", _clock("-1d")),
    ]


def _full_at(stage: str) -> Any:
    def act(world: World, _: random.Random) -> str:
        if stage == "arrival":
            world.deliver(inbox=True)
            with _filled(world):  # before the file has held still for long enough to land
                time.sleep(20)
            return "full when it was to land"
        world.deliver()
        at = world.reach(stage)
        with _filled(world):
            time.sleep(20)
        return f"full from {at} on"

    return act


@contextlib.contextmanager
def _filled(world: World) -> Iterator[None]:
    filler = world.folder / "filler"
    try:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)
        yield
    finally:
        filler.unlink()


def _read_only_at(stage: str) -> Any:
    def act(world: World, _: random.Random) -> str:
        world.deliver()
        at = world.reach(stage)
        place = str(world.home.root / "data")
        world.mount("--bind", place, place)
        world.mount("-o", "remount,ro,bind", place)
        try:
            time.sleep(20)
        finally:
            subprocess.run(["umount", place], check=True)
        return f"read-only from {at} on"

    return act


def _stopped(part: str, stage: str) -> Any:
    return lambda world, _: stopped(world, part, stage, MINUTE)


def _gone(part: str, stage: str) -> Any:
    def act(world: World, _: random.Random) -> str:
        world.deliver()
        at = world.reach(stage)
        world.signal("supervisor", signal.SIGSTOP)  # or it would start the part again at once
        world.signal(part, group=True)
        time.sleep(MINUTE)
        world.signal("supervisor", signal.SIGCONT)
        return f"{part} gone for a minute from {at} on"

    return act


def _remote_gone(world: World, _: random.Random) -> str:
    remote = world.home.hidden / "dvc-remote"
    aside = remote.with_name("dvc-remote-away")
    remote.rename(aside)
    remote.write_text("no folder\n", encoding="utf-8")
    world.deliver()
    began = time.monotonic()
    until(lambda: versioning.push_waits(world.home.root), "a push that waits")
    until(lambda: world.all_judged, "the verdict, without a remote")
    time.sleep(max(0.0, MINUTE - (time.monotonic() - began)))
    remote.unlink()
    aside.rename(remote)
    until(lambda: not versioning.push_waits(world.home.root), "the push that waited", 120.0)
    return "accepted without a remote; pushed once it was back"


def _send(world: World, events: list[dict[str, Any]]) -> None:
    with world.prefect() as client:
        for first in range(0, len(events), 100):
            client.post("/events", json=events[first : first + 100]).raise_for_status()


def _event(name: str, resource: str, number: int = 0) -> dict[str, Any]:
    """An event as the watcher sends it; a numbered one is like no other."""
    return event(name, resource, {}, identity=f"{resource} {number} {time.time() if number else ''}")


def _flood(world: World, _: random.Random) -> str:
    world.deliver()
    landed = [_event("data.landed", "perennial.chaos.task.types", n + 1) for n in range(1000)]
    due = [_event("perennial.refresh.due", "perennial.chaos", n + 1) for n in range(1000)]
    _send(world, [*landed, *due])
    began = time.monotonic()
    until(lambda: world.all_judged, "the verdict among a thousand runs", FLOOD_SECONDS)
    fewest = len(world.open_flow_runs())
    while fewest:  # a server that is slow beside other work is no loss; one that makes no headway is
        fewest = until(lambda fewest=fewest: _fewer(world, fewest), "fewer open runs", FLOOD_SECONDS, 5.0) - 1
    return f"two thousand events sent, worked off in {time.monotonic() - began:.0f} s"


def _fewer(world: World, fewest: int) -> int:
    """One more than the open runs, so that it is true when there are none; 0 while they are not fewer."""
    found = len(world.open_flow_runs())
    return found + 1 if found < fewest else 0


def _duplicates(world: World, _: random.Random) -> str:
    world.deliver()
    same = _event("perennial.refresh.due", "perennial.chaos", 1)
    for _again in range(20):
        _send(world, [same])
    _send(world, [_event("perennial.refresh.due", "perennial.chaos", n) for n in range(2, 7)])
    return "twenty of one, five others"


@contextlib.contextmanager
def _another_watcher(world: World, **environment: str) -> Iterator[None]:
    up = service(world.home)
    assert up
    servers = {"PREFECT_API_URL": up["addresses"]["prefect_api"], "MLFLOW_TRACKING_URI": up["addresses"]["mlflow"]}
    words = [sys.executable, "-m", "pipelines.service.watcher", str(world.home.root)]
    with world.told() as told:
        process = subprocess.Popen(words, stdout=told, stderr=told, env=world.environment(**servers, **environment))
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def _two_watchers(world: World, _: random.Random) -> str:
    with _another_watcher(world):
        time.sleep(8)  # until it watches
        world.deliver(inbox=True)
        until(lambda: world.all_judged, "the verdict")
    return "one file in the inbox, seen by two"


def _during_run(world: World, _: random.Random) -> str:
    world.deliver()
    at = world.reach("train")
    first = world.delivered
    world.deliver(inbox=True)
    until(lambda: len(world.verdicts()) > first, "the first verdict")
    return f"it arrived at {at} and waited for the next refresh"


def _clock(offset: str) -> Any:
    def act(world: World, _: random.Random) -> str:
        library = _faketime()
        if library is None:
            return "skipped: libfaketime is not installed"
        world.signal("watcher", signal.SIGSTOP)  # it is there, so nobody starts it again; the other one works
        try:
            with _another_watcher(world, LD_PRELOAD=library, FAKETIME=offset, FAKETIME_DONT_FAKE_MONOTONIC="1"):
                world.deliver(inbox=True)
                until(lambda: world.all_judged, "the verdict")
        finally:
            world.signal("watcher", signal.SIGCONT)
        return f"clock {offset}"

    return act


def _faketime() -> str | None:
    program = shutil.which("faketime")
    if program is None:
        return None
    told = subprocess.run([program, "-f", "+0d", "env"], capture_output=True, text=True, check=False).stdout
    return next((line.partition("=")[2] for line in told.splitlines() if line.startswith("LD_PRELOAD=")), None)
