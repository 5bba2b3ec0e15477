"""Tombstones: which documents were forgotten, in hashes alone, so that they do not land again."""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.edge.forget.cut import Seen, cut
from steps.core.manifest import FILES, LandedFile, Tombstone
from steps.core.shards import digest_of_file, read_lines, write_lines

logger = logging.getLogger(__name__)

TOMBSTONES = "data/tombstones.jsonl"


@dataclass(frozen=True)
class Buried:
    """The hashes of keys and contents that may not land."""

    keys: frozenset[str] = frozenset()
    contents: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.keys or self.contents)

    def holds(self, key: str, content: str) -> bool:
        """Whether a document may not land, by its key or by its content hash."""
        return content in self.contents or hash_of(key) in self.keys


def hash_of(key: str) -> str:
    """What a tombstone says of a key: its SHA-256, in hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def name_of(key: str) -> str:
    """What stands for a forgotten key where a row must stay."""
    return f"forgotten:{hash_of(key)}"


def read_tombstones(root: Path) -> list[Tombstone]:
    """The tombstones of a workspace, oldest first."""
    return [Tombstone.model_validate(row) for row in read_lines(root / TOMBSTONES)]


def buried(root: Path) -> Buried:
    """What may not land in a workspace."""
    rows = read_tombstones(root)
    keys, contents = ({getattr(row, name) for row in rows} - {None} for name in ("key", "content"))
    return Buried(frozenset(keys), frozenset(contents))


def bury(root: Path, tombstones: Iterable[Tombstone]) -> None:
    """Add tombstones; one that says the same of the same document is not added twice."""
    rows = read_tombstones(root)
    known = {(key, content) for row in rows for key in (row.key, None) for content in (row.content, None)}
    rows += [each for each in dict.fromkeys(tombstones) if (each.key, each.content) not in known]
    write_lines(root / TOMBSTONES, (row.model_dump() for row in rows))


def keep_out(root: Path, folder: Path, files: Sequence[LandedFile]) -> tuple[list[LandedFile], list[Tombstone]]:
    """Cut what was forgotten before out of the files of a batch that is about to land.

    Returns the files as they are now, without those that held nothing else, and the tombstones that were met.

    Raises:
        ValueError: a file cannot be rewritten without such a document.
    """
    gone = buried(root)
    if not gone:
        return list(files), []
    left, met = [], list[Seen]()
    for file in files:
        path = folder / FILES / file.name
        went = cut(path, file.name, lambda record: record.key is not None and gone.holds(record.key, record.content))
        met += went
        if not went:
            left.append(file)
        elif path.exists():
            left.append(described(folder, file.name))
    if not met:
        return left, []
    logger.warning("%d documents were forgotten before and did not land again", len(met))
    keys, contents = {hash_of(str(record.key)) for record in met}, {record.content for record in met}
    return left, [each for each in read_tombstones(root) if each.key in keys or each.content in contents]


def described(folder: Path, name: str) -> LandedFile:
    """A file of a batch as its manifest lists it."""
    path = folder / FILES / name
    return LandedFile(name=name, sha256=digest_of_file(path), bytes=path.stat().st_size)
