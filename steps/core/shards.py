"""Bytes on disk: atomic writes, JSON lines, digests."""

import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson


def canonical_json(value: Any) -> str:
    """One string for one value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON value, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_files(paths: Mapping[str, Path]) -> str:
    """SHA-256 over named files: their names and bytes, in the order of their names."""
    return digest_of({name: digest_of_file(path) for name, path in sorted(paths.items())})


def _partial(path: Path) -> Path:
    """A name of its own for every writer, on whatever machine."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; on return it is on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_array(path: Path, values: np.ndarray) -> None:
    """Write an array atomically, as `.npy` without pickle."""
    held = io.BytesIO()
    np.save(held, values, allow_pickle=False)
    write_atomic(path, held.getvalue())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value atomically, indented, keys in the order given."""
    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write JSON lines atomically, streaming; returns their number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    count = 0
    try:
        with partial.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(canonical_json(row) + "\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON lines of a file that we wrote; a missing file has none."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            yield orjson.loads(line)
