"""What readers share: the lines of a file, or all of it, with bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from steps.methods.reader import Reader, Record, Rejected, excerpt
from steps.methods.reader._unpack import DamagedError, chunks

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its line break; of one that is too long, or damaged, only the beginning."""

    number: int
    raw: bytes
    problem: str = ""


def head(file: Path) -> bytes:
    """The first bytes of a file, unpacked; none of a file that is empty, an archive, or damaged from its first byte on.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        return next(chunks(file, 1), b"")
    except DamagedError:
        return b""


def lines(file: Path, reader: Reader, *, empty: bool = True) -> Iterator[Line]:
    """The lines of a file, with or without empty ones; no more than `max_line_bytes` and a chunk are ever held.

    Raises:
        OSError: the file cannot be read.
    """
    number, held, skipping = 1, bytearray(), False
    try:
        for chunk in chunks(file, reader.max_expansion):
            parts = chunk.split(b"\n")
            for index, part in enumerate(parts):
                if index:  # a line break lies before this part
                    if not skipping and (held or empty):
                        yield Line(number, bytes(held))
                    number, skipping = number + 1, False
                    held.clear()
                if not skipping:
                    held += part
                    if len(held) > reader.max_line_bytes:
                        yield Line(number, bytes(held[:1024]), "line-too-long")
                        skipping = True
                        held.clear()
    except DamagedError as error:
        yield Line(number, bytes(held[:1024]), error.reason)
        return
    if held and not skipping:
        yield Line(number, bytes(held))


def whole(file: Path, reader: Reader, *, binary: bool = False) -> bytes | Rejected:
    """All of a file that is one document, or why it is none; half a document is none.

    Raises:
        OSError: the file cannot be read.
    """
    held = bytearray()
    try:
        for chunk in chunks(file, reader.max_expansion):
            held += chunk
            if b"\0" in chunk and not binary:
                return Rejected(1, "binary", excerpt(bytes(held[:1024])))
            if len(held) > reader.max_line_bytes:
                return Rejected(1, "file-too-long", excerpt(bytes(held[:1024])))
    except DamagedError as error:  # what was read would be learned as if the document ended there
        return Rejected(1, error.reason, excerpt(bytes(held[:1024])))
    return bytes(held) if held else Rejected(1, "empty-file", "")


def whole_text(file: Path, reader: Reader) -> str | Rejected:
    """All of a file in UTF-8, with or without byte order mark, line breaks as `\\n`; or why it is none.

    Raises:
        OSError: the file cannot be read.
    """
    raw = whole(file, reader)
    if isinstance(raw, Rejected):
        return raw
    raw = raw.removeprefix(BYTE_ORDER_MARK)
    try:
        return raw.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        return Rejected(1 + raw[: error.start].count(b"\n"), "invalid-utf-8", excerpt(raw[error.start :][:1024]))


def document(
    text: str,
    name: str,
    reason: str = "empty-text",
    *,
    language: str | None = None,
    time: str | None = None,
    licence: str | None = None,
) -> Record | Rejected:
    """A file's one document under the file's own name; blank: rejected for `reason`."""
    try:
        "".join(said for said in (text, language, time, licence) if said).encode()
    except UnicodeEncodeError:
        return Rejected(1, "lone-surrogate", excerpt(text))
    if not text.strip():
        return Rejected(1, reason, "")
    return Record(line=1, text=text, key=name, language=language, time=time, licence=licence)
