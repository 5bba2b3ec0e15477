"""Programs in a file, by the key of their document."""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import orjson

from steps.core.documents import Document, content_hash


class Programs:
    """The programs of a file, found by the key of their document; only where they stand is held in memory."""

    def __init__(self, path: Path) -> None:
        hashes, places, place = [], [], 0
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    hashes.append(_hash(_row(path, number, line)["key"]))
                    places.append(place)
                place += len(line)
        order = np.argsort(np.array(hashes, dtype=np.uint64), kind="stable")
        self._path = path
        self._hashes = np.array(hashes, dtype=np.uint64)[order]
        self._places = np.array(places, dtype=np.int64)[order]

    def program(self, document: Document) -> str | None:
        """The last program of a document's key whose content hash, if it has one, is the document's."""
        wanted = np.uint64(_hash(document.key))
        first, last = np.searchsorted(self._hashes, wanted), np.searchsorted(self._hashes, wanted, side="right")
        found = None
        if first < last:
            with self._path.open("rb") as file:
                for place in self._places[first:last].tolist():
                    file.seek(place)
                    row = orjson.loads(file.readline())
                    if row["key"] == document.key and _is_of(document, row.get("content_hash")):
                        found = str(row["program"])
        return found


@lru_cache(maxsize=4)
def load_programs(path: Path, stamp: int, size: int) -> Programs:
    """The programs of a file, which stay known in this process while the file is the same."""
    return Programs(path)


def _is_of(document: Document, wanted: str | None) -> bool:
    """Whether a hash is of the document, as it arrived or as repairs left it."""
    return wanted in (None, document.content_hash) or wanted == content_hash(document.text)


def _row(path: Path, number: int, line: bytes) -> dict[str, str]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{path}: line {number}: not JSON: {error}; wanted {{key, content_hash?, program}}") from error
    whole = isinstance(row, dict) and all(isinstance(row.get(name), str) for name in ("key", "program"))
    if not whole or not isinstance(row.get("content_hash"), str | None):
        raise ValueError(f"{path}: line {number}: wanted {{key, content_hash?, program}}, found {line[:80]!r}")
    return dict(row)


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
