"""Readers: what is one record of a landed file, and which bytes are none.

A reader streams: it yields, in the order of the file, a `Record` for what it could read and a `Rejected` for what
it could not. It raises nothing for the content of a file: damage costs the damaged record, never its neighbours, and
no content takes more time or memory than the knobs allow.
"""

import re
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from steps.core.method import Method

SUFFIXES = {
    **dict.fromkeys((".jsonl", ".json", ".ndjson"), "jsonl"),
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".md", ".markdown"), "markdown"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    **dict.fromkeys((".arrow", ".feather"), "datasets"),
    ".parquet": "parquet",
    ".pdf": "pdf",
    ".rst": "rst",
    ".txt": "text",
}
PACKED = (".gz", ".zst", ".bz2", ".xz")
MAGIC = (
    (re.compile(rb"PAR1"), "parquet"),
    (re.compile(rb"ARROW1|\xff\xff\xff\xff"), "datasets"),
    (re.compile(rb"%PDF-"), "pdf"),
    (re.compile(rb"\s*\{"), "jsonl"),
    (re.compile(rb"\s*<(!doctype\s+html|html[\s>])", re.IGNORECASE), "html"),
)
SIDECARS = {  # what `save_to_disk` writes beside its .arrow files: they describe records, and hold none
    "dataset_info.json": b'"features"',
    "state.json": b'"_data_files"',
    "dataset_dict.json": b'"splits"',
}
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
    messages: tuple[tuple[str, str], ...] | None = None  # of a labelled record: role and content of each turn


@dataclass(frozen=True, slots=True)
class Rejected:
    """One record that could not be read: the line where it starts (1, 2, ...), a reason code, and how it begins."""

    line: int
    reason: str
    excerpt: str


class Reader(Method):
    """Turns one landed file, compressed or not, into records."""

    max_line_bytes: int = Field(16 * 2**20, ge=1024, description="bytes of the longest record that is held in memory")
    max_expansion: int = Field(
        250, ge=1, description="bytes that one compressed byte may become, beyond the first 64 MiB of a file"
    )

    @abstractmethod
    def read(self, file: Path, name: str) -> Iterator[Record | Rejected]:
        """The records of a file; `name` is its path in the batch, the key of a file that is one document.

        Raises:
            OSError: the file cannot be read.
        """


def reader_for(name: str, head: bytes) -> str:
    """The reader's name for a file: by its suffix, else by how it begins (`head` is unpacked), else `text`."""
    stem = name.lower()
    for packed in PACKED:
        stem = stem.removesuffix(packed)
    sidecar = SIDECARS.get(stem.rpartition("/")[2])
    if sidecar and sidecar in head:
        return "datasets"
    for suffix, reader in SUFFIXES.items():
        if stem.endswith(suffix):
            return reader
    begin = head.removeprefix(b"\xef\xbb\xbf")
    return next((reader for magic, reader in MAGIC if magic.match(begin)), "text")


def excerpt(raw: bytes | str) -> str:
    """How a record begins, safe to print and short."""
    text = raw[: 4 * EXCERPT_CHARACTERS].decode(errors="replace") if isinstance(raw, bytes) else raw
    short = text[:EXCERPT_CHARACTERS]
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in short)
