"""Readers: what is one record of a landed file, and which bytes are none.

A reader streams: it yields, in the order of the file, a `Record` for what it could read and a `Rejected` for what
it could not. It raises nothing for the content of a file: damage costs the damaged record, never its neighbours.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from steps.core.method import Method

SUFFIXES = {".jsonl": "jsonl", ".json": "jsonl", ".txt": "text", ".md": "text"}
EXCERPT_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class Record:
    """One readable record; what it leaves out, the step fills in from the file, the batch and the task."""

    line: int
    text: str
    key: str | None = None
    source: str | None = None
    language: str | None = None
    time: str | None = None
    licence: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """One record that could not be read: the line where it starts (1, 2, ...), a reason code, and how it begins."""

    line: int
    reason: str
    excerpt: str


class Reader(Method):
    """Turns one landed file, gzip or not, into records."""

    max_line_bytes: int = Field(16 * 2**20, ge=1024, description="bytes of the longest record that is held in memory")

    @abstractmethod
    def read(self, file: Path, name: str) -> Iterator[Record | Rejected]:
        """The records of a file; `name` is its path in the batch, the key of a file that is one document.

        Raises:
            OSError: the file cannot be read.
        """


def reader_for(name: str, head: bytes) -> str:
    """The reader's name for a file: by its suffix, else by the first byte that is no space (`head` is unzipped)."""
    stem = name.lower().removesuffix(".gz")
    for suffix, reader in SUFFIXES.items():
        if stem.endswith(suffix):
            return reader
    return "jsonl" if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{" else "text"


def excerpt(raw: bytes | str) -> str:
    """How a record begins, safe to print and short."""
    text = raw[: 4 * EXCERPT_CHARACTERS].decode(errors="replace") if isinstance(raw, bytes) else raw
    short = text[:EXCERPT_CHARACTERS]
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in short)
