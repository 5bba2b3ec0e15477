"""Bytes on disk: atomic writes, JSON lines, digests."""

import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

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


@contextmanager
def atomic(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """A file to write, which is there whole or not at all; `durable`: afterwards it is on disk, whatever happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes, durable: bool = True) -> None:
    """Write a file whole or not at all; on return it is on disk, if it is to be durable."""
    with atomic(path, durable) as file:
        file.write(content.encode() if isinstance(content, str) else content)


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
    count = 0
    with atomic(path) as file:
        for row in rows:
            file.write(f"{canonical_json(row)}\n".encode())
            count += 1
    return count


def append_line(path: Path, row: Mapping[str, Any]) -> None:
    """Add a JSON line to a file; on return it is on disk. A line that a kill cut short does not swallow it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        torn = file.read(1) not in (b"", b"\n")
        file.write(b"\n" * torn + canonical_json(row).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON lines of a file that we wrote; a missing file has none."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            yield orjson.loads(line)
