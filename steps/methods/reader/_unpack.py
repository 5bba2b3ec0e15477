"""Bytes of a landed file, unpacked if they are compressed, with bounded memory and bounded growth."""

import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

CHUNK_BYTES = 2**18
PIECE_BYTES = 2**14  # read at a time: a member of 20 bytes costs a copy of what follows it in the piece
ZSTD_PIECE_BYTES = 2**9  # its blocks unpack whole, at most 2**15 times: 16 MiB a piece
FREE_BYTES = 2**26  # what a file may always become, however small it is
MEMORY_BYTES = 2**28  # the largest dictionary or window that a compressed file may ask for
ARCHIVES = re.compile(rb"PK(\x03\x04|\x05\x06|\x07\x08)|7z\xbc\xaf'\x1c|Rar!\x1a\x07|.{257}ustar", re.DOTALL)


class DamagedError(Exception):
    """The rest of a file cannot be unpacked; `reason` is its code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Gzip:
    """A gzip member with the interface of the standard library's other decompressors."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(31)  # wbits for a gzip header and trailer

    def decompress(self, raw: bytes, max_length: int) -> bytes:
        return self._member.decompress(self._member.unconsumed_tail + raw, max_length)

    @property
    def needs_input(self) -> bool:
        return not self._member.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._member.eof

    @property
    def unused_data(self) -> bytes:
        return self._member.unused_data


class _Zstd:
    """A Zstandard frame with the same interface; `max_length` is held by the size of the piece."""

    needs_input = True

    def __init__(self) -> None:
        import zstandard

        self._frame = zstandard.ZstdDecompressor(max_window_size=MEMORY_BYTES).decompressobj()

    def decompress(self, raw: bytes, max_length: int) -> bytes:
        import zstandard

        try:
            return self._frame.decompress(raw)
        except zstandard.ZstdError as error:
            raise ValueError("damaged") from error

    @property
    def eof(self) -> bool:
        return self._frame.eof

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data


@dataclass(frozen=True)
class _Codec:
    name: str
    magic: re.Pattern[bytes]
    make: Callable[[], Any]
    piece_bytes: int = PIECE_BYTES


CODECS = (
    _Codec("gzip", re.compile(rb"\x1f\x8b"), _Gzip),
    _Codec("bzip2", re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"), bz2.BZ2Decompressor),
    _Codec("xz", re.compile(rb"\xfd7zXZ\0"), lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_BYTES)),
    _Codec("zstd", re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), _Zstd, ZSTD_PIECE_BYTES),
)


def chunks(file: Path, max_expansion: int) -> Iterator[bytes]:
    """The bytes of a file, one layer unpacked if it begins like a compressed one; those before the damage come first.

    Raises:
        DamagedError: the compressed stream ends early, is corrupt, grows too much, or the file is an archive of files.
        OSError: the file cannot be read.
    """
    with file.open("rb") as stream:
        raw = stream.read(CHUNK_BYTES)
        codec = next((codec for codec in CODECS if codec.magic.match(raw)), None)
        if codec is None:
            if ARCHIVES.match(raw):
                raise DamagedError("archive")
            while raw:
                yield raw
                raw = stream.read(CHUNK_BYTES)
            return
        stream.seek(0)
        num_bytes = 0
        for plain in _unpacked(stream, codec):
            if num_bytes == 0 and (ARCHIVES.match(plain) or any(one.magic.match(plain) for one in CODECS)):
                raise DamagedError("nested-archive")
            num_bytes += len(plain)
            if num_bytes > max(FREE_BYTES, max_expansion * stream.tell()):
                raise DamagedError("expands-too-much")
            yield plain


def _unpacked(stream: BinaryIO, codec: _Codec) -> Iterator[bytes]:
    member, raw = codec.make(), stream.read(codec.piece_bytes)
    while True:
        try:
            plain = member.decompress(raw, CHUNK_BYTES)
        except (
            zlib.error,
            lzma.LZMAError,
            ValueError,
            OSError,
            EOFError,
        ) as error:  # bz2 says OSError; no disk is read
            raise DamagedError(f"damaged-{codec.name}") from error
        if plain:
            yield plain
        raw = b""
        if member.eof:  # another member may follow; zero bytes are padding
            raw = member.unused_data.lstrip(b"\0")
            while not raw:
                if not (raw := stream.read(codec.piece_bytes)):
                    return
                raw = raw.lstrip(b"\0")
            member = codec.make()
        elif member.needs_input and not (raw := stream.read(codec.piece_bytes)):
            raise DamagedError(f"truncated-{codec.name}")
