"""What a model scored, kept beside its report: a line for each batch, so that no item is scored twice.

A line is one batch or one sample, whole or not at all; one that a kill cut short counts as never written. Items that
nobody asks for any more are let go when they are the larger part, so that the file stays as long as the hold-outs are,
however many refreshes its model is asked in.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from steps.core.artifacts import Frozen
from steps.core.shards import canonical_json, write_atomic


class Scored(Frozen):
    """What the model made of one item: the loss summed over what counts, and how much that is."""

    item: str
    nats: float
    tokens: int
    bytes: int


class Cached(Frozen):
    """One line of the cache: a batch or a sample, and what decided it. A batch is cached whole or not at all."""

    source: str = Field(description="digest of the model, the code and the knobs that decide the numbers")
    items: tuple[Scored, ...] = ()
    samples: dict[str, str] = Field(default_factory=dict, description="item -> prompt and continuation")


class Scores:
    """The cache of one model: what `source` scored and sampled, read once and added to."""

    def __init__(self, path: Path, source: str) -> None:
        self.path, self.source = path, source
        self.items: dict[str, Scored] = {}
        self.samples: dict[str, str] = {}
        self.num_rows = 0  # in the file, of whatever source
        lines = path.read_bytes().splitlines() if path.exists() else []
        for line in lines:
            try:
                entry = Cached.model_validate_json(line)
            except ValidationError:
                continue
            self._note(entry)

    def add(self, items: Iterable[Scored] = (), samples: Mapping[str, str] | None = None) -> None:
        """Write a line, and have it on disk on return."""
        entry = Cached(source=self.source, items=tuple(items), samples=dict(samples or {}))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            torn = file.read(1) not in (b"", b"\n")  # a line that a kill cut short must not swallow this one
            file.write(b"\n" * torn + _line(entry))
            file.flush()
            os.fsync(file.fileno())
        self._note(entry)

    def keep(self, wanted: Collection[str]) -> None:
        """Let go of what nobody asks for, once it is more than half of the file."""
        items = [row for name, row in self.items.items() if name in wanted]
        samples = {name: text for name, text in self.samples.items() if name in wanted}
        if self.num_rows > 2 * (len(items) + len(samples)):
            kept = Cached(source=self.source, items=tuple(items), samples=samples)
            write_atomic(self.path, _line(kept))
            self.items, self.samples, self.num_rows = {}, {}, 0
            self._note(kept)

    def _note(self, entry: Cached) -> None:
        self.num_rows += len(entry.items) + len(entry.samples)
        if entry.source == self.source:
            self.items.update({row.item: row for row in entry.items})
            self.samples.update(entry.samples)


def _line(entry: Cached) -> bytes:
    return canonical_json(entry.model_dump()).encode() + b"\n"
