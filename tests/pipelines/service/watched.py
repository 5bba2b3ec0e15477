"""A workspace with inboxes, and files in them."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from pipelines.edge.home import Home
from pipelines.edge.landing import batches
from pipelines.service.inbox import Inboxes, Scan


def workspace(root: Path, *inboxes: dict[str, Any], **settings: Any) -> Home:
    """A workspace with the tasks `docs` and `mail`; an inbox is by default `inbox` of `docs`, settled at once."""
    (root / "data").mkdir(parents=True, exist_ok=True)
    (root / "data" / "tasks.yaml").write_text("tasks:\n  docs:\n  mail:\n")
    entries = [{"task": "docs", "address": "inbox", "settle_seconds": 0, **each} for each in inboxes or ({},)]
    (root / "perennial.yaml").write_text(yaml.safe_dump({"inbox": entries, **settings}))
    return Home(root)


def put(root: Path, name: str, text: str, *, age_seconds: float | None = None) -> Path:
    """Write a file; its time of change lies so far back, or now."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if age_seconds is not None:
        os.utime(path, (time.time() - age_seconds, time.time() - age_seconds))
    return path


def scan(home: Home) -> Scan:
    """One look at the first inbox by a watcher that has just started."""
    inboxes = Inboxes(home)
    return inboxes.scan(inboxes.inboxes[0])


def landed(home: Home, task: str = "docs") -> list[dict[str, str]]:
    """The files of each batch, oldest batch first, with what they hold."""
    folders = [home.root / batch.path / "files" for batch in batches(home.root, task)]
    return [
        {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}
        for folder in folders
    ]


def until(happened: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something, and fail if it does not come."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)
