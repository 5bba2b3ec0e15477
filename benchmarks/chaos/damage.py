"""Damaged files: what a refresh, the watcher or the supervisor wrote, and finds again as garbage."""

import os
import random
import signal
from collections.abc import Callable

from benchmarks.chaos.faults import Case, killed_with
from benchmarks.chaos.world import World

Damage = Callable[[World], str]


def cases() -> list[Case]:
    """Each file that a next attempt reads, in several ways; two files in one refresh."""
    return [
        _killed("checkpoint-flipped", "a byte of the last checkpoint changed, `inputs.json` garbage", flip, inputs),
        _killed("checkpoint-cut", "the last checkpoint cut in half, `running.json` garbage", truncate, running),
        _killed("checkpoints-all", "all checkpoints garbage, half a line in the ledger", ruin, torn),
        _killed("records-garbage", "records garbage, `running.json` of a wrong shape", records(0), running_shape),
        _killed("records-cut", "records cut, DVC's locks left behind", records(1), dvc_lock),
        _killed("records-shape", "records of a wrong shape, the ledger's last line cut", records(2), cut),
        _killed("staging", "half a version in the staging folder, records no objects", staging, records(3), "conclude"),
        Case("damaged-memory-garbage", "what the service remembers is garbage", lambda w, _: memories(w, "{garbage")),
        Case("damaged-memory-shape", "what the service remembers has a wrong shape", lambda w, _: memories(w, "[7]")),
    ]


RECORDS = (b"\x00\xff garbage", b'{"stage": "mix", "fingerprint": "4f', b'{"stage": "mix"}', b"[]")


def _killed(name: str, what: str, first: Damage, second: Damage, at: str = "train") -> Case:
    def act(world: World, _: random.Random) -> str:
        checkpoints = 2 if name.startswith("checkpoint") else 0
        return killed_with(world, lambda world: f"{first(world)}; {second(world)}", at, checkpoints)

    return Case("damaged-" + name, f"killed at {at}, then {what}", act, kills=1, served=False)


def _write(world: World, name: str, content: str) -> str:
    (world.home.root / name).write_text(content, encoding="utf-8")
    return f"{name} is {content!r}"


def inputs(world: World) -> str:
    return _write(world, "data/inputs.json", "{garbage")


def running(world: World) -> str:
    return _write(world, ".perennial/running.json", "{garbage")


def running_shape(world: World) -> str:
    return _write(world, ".perennial/running.json", "[7]")


def flip(world: World) -> str:
    path = world.checkpoints()[-1] / "state.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    return f"a byte of {path.parent.name} changed, {len(world.checkpoints())} there"


def truncate(world: World) -> str:
    path = world.checkpoints()[-1] / "state.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return f"{path.parent.name} cut in half, {len(world.checkpoints())} there"


def ruin(world: World) -> str:
    found = world.checkpoints()
    for folder in found:
        for path in folder.iterdir():
            path.write_bytes(b"\x00\xff garbage")
    for name in ("history.jsonl", "run"):
        (world.home.root / "data/train/checkpoints" / name).write_bytes(b"\xff\xfe{")
    return f"{len(found)} checkpoints are garbage"


def records(way: int) -> Damage:
    def damage(world: World) -> str:
        found = sorted((world.home.root / "data").rglob("record.json"))
        for path in found:
            path.write_bytes(RECORDS[way])
        return f"{len(found)} records are {RECORDS[way]!r}"

    return damage


def torn(world: World) -> str:
    with world.home.ledger_file.open("ab") as file:
        file.write(b'{"event":"verdict","attempt":"0000')
    return "half a line at the end"


def cut(world: World) -> str:
    content = world.home.ledger_file.read_bytes().rstrip(b"\n")
    last = content[content.rfind(b"\n") + 1 :]
    world.home.ledger_file.write_bytes(content[: -len(last) // 2])
    return f"cut: {last[:40].decode()}…"


def staging(world: World) -> str:
    for folder in (world.home.hidden / "staging").glob("*"):
        (folder / "version.json").write_text("{", encoding="utf-8")
    return "its version.json is garbage"


def dvc_lock(world: World) -> str:
    for name in ("rwlock", "lock"):
        path = world.home.root / ".dvc/tmp" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"/x": {"write": {"pid": 999999999, "cmd": "dvc"}}}', encoding="utf-8")
    return "rwlock and lock of a process that is gone"


def memories(world: World, content: str) -> str:
    """What the watcher, the inboxes and the claims remember, while the watcher is away; then an arrival."""
    service = world.home.hidden / "service"
    claim = "flows/0b0e7b1e-0000-4000-8000-000000000000.json"
    names = ("state.json", "landed.json", "backlog.json", "inbox.json", claim)
    watcher = world.pid("watcher")
    for name in names:
        path = service / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    if watcher:
        os.kill(watcher, signal.SIGKILL)
    world.deliver(inbox=True)
    return f"{', '.join(names)} are {content!r}, and the watcher begins anew"
