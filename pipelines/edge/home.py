"""A workspace on disk: its settings, its lock, its ledger."""

import fcntl
import getpass
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.edge.settings import Settings
from pipelines.recipe import load_yaml
from steps.core.shards import canonical_json


class Busy(RuntimeError):
    """Another process holds the workspace."""


class Home:
    """One workspace: a folder with `perennial.yaml`, `data/` and `.perennial/` (what tools write)."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.hidden = self.root / ".perennial"
        self.ledger_file = self.root / "data" / "ledger.jsonl"

    @property
    def settings(self) -> Settings:
        """The workspace's settings; all defaults where `perennial.yaml` is missing.

        Raises:
            ValueError: the file does not fit; the message says where.
        """
        path = self.root / "perennial.yaml"
        return load_yaml(path, Settings) if path.exists() else Settings()

    @contextmanager
    def lock(self, wait_seconds: float = 0.0) -> Iterator[None]:
        """Hold the workspace; the kernel lets go when the process dies.

        Raises:
            Busy: another process holds it for longer than the wait.
        """
        self.hidden.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + wait_seconds
        with (self.hidden / "lock").open("a+") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() >= deadline:
                        file.seek(0)
                        holder = file.read().strip() or "another process"
                        raise Busy(
                            f"{self.root}: busy, held by {holder}; wait for it, or pass --wait SECONDS"
                        ) from error
                    time.sleep(0.2)
            file.seek(0)
            file.truncate()
            file.write(f"process {os.getpid()}")
            file.flush()
            yield

    @property
    def is_held(self) -> bool:
        """Whether a process holds the workspace now, on this host or, where the file system has locks, on another."""
        try:
            with self.lock():
                return False
        except Busy:
            return True

    def record(self, event: str, **facts: Any) -> None:
        """Append one event to the ledger: when, who, what."""
        self.ledger_file.parent.mkdir(parents=True, exist_ok=True)
        row = {"event": event, "time": datetime.now(UTC).isoformat(timespec="seconds"), "who": who(), **facts}
        with self.ledger_file.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            torn = (
                file.tell() > 0 and _last_byte(file) != b"\n"
            )  # a line cut short by a crash must not swallow this one
            file.write((b"\n" if torn else b"") + canonical_json(row).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def ledger(self) -> list[dict[str, Any]]:
        """All events, oldest first; a line cut short by a crash is passed over."""
        if not self.ledger_file.exists():
            return []
        events = []
        for line in self.ledger_file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                events.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return events

    def held(self) -> dict[tuple[str, str], str]:
        """Batches held or discarded by hand or rule: (task, batch) -> `held` or `discarded`."""
        state: dict[tuple[str, str], str] = {}
        words = {"hold": "held", "discard": "discarded"}
        for event in self.ledger():
            if event["event"] in words:
                state[event["task"], event["batch"]] = words[event["event"]]
            elif event["event"] == "release":
                state.pop((event["task"], event["batch"]), None)
        return state

    def judged(self, attempt: str) -> dict[str, Any] | None:
        """The last verdict on an attempt, if it was judged; `--again` judges it under its name and a number."""
        verdicts = [event for event in self.ledger() if event["event"] == "verdict"]
        found = [each for each in verdicts if each["attempt"] == attempt or each["attempt"].startswith(f"{attempt}-")]
        return found[-1] if found else None


def _last_byte(file: Any) -> bytes:
    file.seek(-1, os.SEEK_END)
    last: bytes = file.read(1)
    return last


def who() -> str:
    """Who does what is written down."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
