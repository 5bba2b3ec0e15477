"""What waits: how many documents and tokens each batch holds, counted once."""

import gzip
import time
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from pipelines.edge.home import Home
from pipelines.service.conditions import Waiting
from steps.core.artifacts import Batch, Landed
from steps.core.manifest import FILES
from steps.core.shards import write_json

Counts = TypeAdapter(dict[str, tuple[int, int]])
BYTES_PER_TOKEN = 4  # of English text; an estimate is enough to decide when to begin


class Backlog:
    """Counts of batches, kept in `.perennial/service/backlog.json`, and since when this process has seen them."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.file = home.hidden / "service" / "backlog.json"
        self._seen: dict[str, float] = {}
        try:
            self._counts = Counts.validate_json(self.file.read_bytes())
        except (FileNotFoundError, ValueError):  # damaged: they are counted again
            self._counts = {}

    def waiting(self, found: dict[str, Landed], now: datetime | None = None) -> list[Waiting]:
        """The batches that wait, with their sizes and ages; a clock that is set back makes nothing younger."""
        now, known = now or datetime.now(UTC), len(self._counts)
        made = []
        for task, part in found.items():
            for batch in part.batches:
                documents, tokens = self._count(batch)
                first = self._seen.setdefault(batch.digest, time.monotonic())
                by_clock = (now - datetime.fromisoformat(batch.time)).total_seconds()
                made.append(
                    Waiting(
                        task=task,
                        batch=batch.name,
                        trains=part.task.role == "train",
                        documents=documents,
                        tokens=tokens,
                        age_seconds=max(0.0, by_clock, time.monotonic() - first),
                    )
                )
        if len(self._counts) != known:
            write_json(self.file, self._counts)
        return made

    def _count(self, batch: Batch) -> tuple[int, int]:
        if batch.digest not in self._counts:
            files = [path for path in sorted((self.home.root / batch.path / FILES).rglob("*")) if path.is_file()]
            counted = [count(path) for path in files]
            size = sum(size for _, size in counted)
            self._counts[batch.digest] = (sum(number for number, _ in counted), size // BYTES_PER_TOKEN)
        documents, tokens = self._counts[batch.digest]
        return documents, tokens


def count(path: Path) -> tuple[int, int]:
    """Documents and bytes of a landed file, unpacked: a line of JSONL is a document, any other file is one."""
    names = path.name.lower().removesuffix(".gz")
    lines = names.endswith((".jsonl", ".ndjson", ".json"))
    number, size = 0, 0
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as file:
            while chunk := file.read(2**20):
                number += chunk.count(b"\n")
                size += len(chunk)
                last = chunk
    except (EOFError, OSError):  # damaged: what is in it is for ingest to say
        return 1, path.stat().st_size
    if not lines:
        return 1, size
    return number + (size > 0 and not last.endswith(b"\n")), size
