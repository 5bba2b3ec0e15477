"""Damaged files: what a refresh, the watcher or the supervisor wrote, and finds again as garbage."""

import random
from collections.abc import Callable
from pathlib import Path

from benchmarks.chaos.faults import Case, killed_with
from benchmarks.chaos.world import World

Damage = Callable[[World], str]


def cases() -> list[Case]:
    """One for each file and way of damaging it."""
    made = [
        _killed("checkpoint-flipped", "bytes of the last checkpoint changed", _flip, checkpoints=2),
        _killed("checkpoint-truncated", "the last checkpoint cut in half", _truncate, checkpoints=2),
        _killed("checkpoints-all", "all checkpoints, the history and the owner's mark garbage", _ruin, checkpoints=1),
        _killed("inputs-garbage", "`inputs.json` garbage", lambda w: _write(w, "data/inputs.json", "{garbage")),
        _killed("running-garbage", "`running.json` garbage", lambda w: _write(w, ".perennial/running.json", "{garb")),
        _killed(
            "running-shape", "`running.json` of a wrong shape", lambda w: _write(w, ".perennial/running.json", "[7]")
        ),
        _killed("ledger-torn", "a torn line at the ledger's end", _torn),
        _killed("ledger-cut", "the ledger's last line cut off in the middle", _cut),
        _killed("staging-leftover", "half a version left in the staging folder", _staging, at="conclude"),
        _killed("dvc-lock", "DVC's lock left behind and garbage", _dvc_lock),
    ]
    for way, content in RECORDS.items():
        made.append(_killed(f"record-{way}", f"records that are {way}", lambda w, c=content: _records(w, c)))
    for name, content in MEMORIES.items():
        made.append(
            Case(
                f"damaged-memory-{name.replace(' ', '-')}",
                f"the service's memory: {name}",
                lambda w, r, c=content: _memories(w, c),
            )
        )
    return made


RECORDS = {
    "garbage": b"\x00\xff garbage",
    "truncated": b'{"stage": "mix", "fingerprint": "4f',
    "of a wrong shape": b'{"stage": "mix"}',
    "no object": b"[]",
}
MEMORIES = {"garbage": "{garbage", "of a wrong shape": "[7]"}


def _killed(name: str, what: str, damage: Damage, at: str = "train", checkpoints: int = 0) -> Case:
    def act(world: World, _: random.Random) -> str:
        return killed_with(world, damage, at, checkpoints)

    return Case("damaged-" + name.replace(" ", "-"), f"killed at {at}, then {what}", act, kills=1, served=False)


def _write(world: World, name: str, content: str) -> str:
    (world.home.root / name).write_text(content, encoding="utf-8")
    return f"{name} is {content!r}"


def _flip(world: World) -> str:
    path = world.checkpoints()[-1] / "state.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    return f"a byte of {path.parent.name} changed, {len(world.checkpoints())} there"


def _truncate(world: World) -> str:
    path = world.checkpoints()[-1] / "state.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return f"{path.parent.name} cut in half, {len(world.checkpoints())} there"


def _ruin(world: World) -> str:
    found = world.checkpoints()
    for folder in found:
        for path in folder.iterdir():
            path.write_bytes(b"\x00\xff garbage")
    for name in ("history.jsonl", "run"):
        (world.home.root / "data/train/checkpoints" / name).write_bytes(b"\xff\xfe{")
    return f"{len(found)} checkpoints are garbage"


def _records(world: World, content: bytes) -> str:
    found = sorted((world.home.root / "data").rglob("record.json"))
    for path in found:
        path.write_bytes(content)
    return f"{len(found)} records are {content[:20]!r}"


def _torn(world: World) -> str:
    with world.home.ledger_file.open("ab") as file:
        file.write(b'{"event":"verdict","attempt":"0000')
    return "half a line at the end"


def _cut(world: World) -> str:
    content = world.home.ledger_file.read_bytes().rstrip(b"\n")
    last = content[content.rfind(b"\n") + 1 :]
    world.home.ledger_file.write_bytes(content[: -len(last) // 2])
    return f"cut: {last[:40].decode()}…"


def _staging(world: World) -> str:
    for folder in (world.home.hidden / "staging").glob("*"):
        (folder / "version.json").write_text("{", encoding="utf-8")
    return "its version.json is garbage"


def _dvc_lock(world: World) -> str:
    for name in ("rwlock", "lock"):
        path = world.home.root / ".dvc/tmp" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"/x": {"write": {"pid": 999999999, "cmd": "dvc"}}}', encoding="utf-8")
    return "rwlock and lock of a process that is gone"


def _memories(world: World, content: str) -> str:
    """What the watcher, the inboxes and the claims remember, while the watcher is away; then an arrival."""
    service = world.home.hidden / "service"
    names = ("landed.json", "backlog.json", "inbox.json", "flows/0b0e7b1e-0000-4000-8000-000000000000.json")
    for name in names:
        path: Path = service / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    world.signal("watcher")
    world.deliver(inbox=True)
    return f"{', '.join(names)} are {content!r}, and the watcher begins anew"
