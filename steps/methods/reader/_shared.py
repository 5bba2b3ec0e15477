"""Bytes of a landed file, unzipped and cut into lines, with bounded memory."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHUNK_BYTES = 2**18
GZIP_MAGIC = b"\x1f\x8b"
GZIP_ONLY = 31  # zlib's wbits for a gzip header and trailer


class DamagedError(Exception):
    """The rest of a compressed file cannot be read; `reason` is its code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its line break; of one that is too long, or damaged, only the beginning."""

    number: int
    raw: bytes
    problem: str = ""


def chunks(file: Path) -> Iterator[bytes]:
    """The bytes of a file, unzipped if it begins like gzip; every byte before the damage is yielded first.

    Raises:
        DamagedError: the compressed stream ends early or is corrupt.
        OSError: the file cannot be read.
    """
    with file.open("rb") as stream:
        raw = stream.read(CHUNK_BYTES)
        if not raw.startswith(GZIP_MAGIC):
            while raw:
                yield raw
                raw = stream.read(CHUNK_BYTES)
            return
        member = zlib.decompressobj(GZIP_ONLY)
        while True:
            if member.eof:  # another member may follow; zero bytes are padding
                raw = (member.unused_data + raw).lstrip(b"\0")
                member = zlib.decompressobj(GZIP_ONLY)
                raw = raw or stream.read(CHUNK_BYTES).lstrip(b"\0")
                if not raw:
                    return
            raw = raw or stream.read(CHUNK_BYTES)
            if not raw:
                raise DamagedError("truncated-gzip")
            try:
                plain = member.decompress(raw, CHUNK_BYTES)
            except zlib.error as error:
                raise DamagedError("damaged-gzip") from error
            raw = member.unconsumed_tail
            if plain:
                yield plain


def head(file: Path) -> bytes:
    """The first bytes of a file, unzipped; none of a file that is empty or damaged from its first byte on.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        return next(chunks(file), b"")
    except DamagedError:
        return b""


def lines(file: Path, max_line_bytes: int) -> Iterator[Line]:
    """The lines of a file; no more than `max_line_bytes` and a chunk are ever held.

    Raises:
        OSError: the file cannot be read.
    """
    number, held, skipping = 1, bytearray(), False
    try:
        for chunk in chunks(file):
            parts = chunk.split(b"\n")
            for index, part in enumerate(parts):
                if index:  # a line break lies before this part
                    if not skipping:
                        yield Line(number, bytes(held))
                    number, skipping = number + 1, False
                    held.clear()
                if not skipping:
                    held += part
                    if len(held) > max_line_bytes:
                        yield Line(number, bytes(held[:1024]), "line-too-long")
                        skipping = True
                        held.clear()
    except DamagedError as error:
        yield Line(number, bytes(held[:1024]), error.reason)
        return
    if held and not skipping:
        yield Line(number, bytes(held))
