"""Records are cut out of one landed file: JSON lines and tables without their rows, packed as they were."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from steps.core.documents import content_hash
from steps.core.method import load_method
from steps.methods.reader import Record, Rejected, reader_for
from steps.methods.reader._shared import head
from steps.methods.reader._unpack import CODECS, DamagedError, chunks

MAX_LINE_BYTES = 2**28  # whatever ingest was told, a record must be found
MAX_EXPANSION = 2**20
TABLES = {"parquet", "datasets"}
LINES = {"jsonl", "csv"}  # the other readers make one document of a file


class Seen(NamedTuple):
    """One record of a landed file; without a key: one that cannot be read, and `text` is how it begins."""

    line: int
    key: str | None
    content: str
    text: str


Gone = Callable[[Seen], bool]


def kind_of(path: Path, name: str) -> str:
    """Which reader a landed file is for."""
    return reader_for(name, head(path))


def seen(path: Path, name: str) -> Iterator[Seen]:
    """The records of a landed file, under the keys that ingest gives them."""
    knobs: dict[str, Any] = {"max_line_bytes": MAX_LINE_BYTES, "max_expansion": MAX_EXPANSION}
    reader: Any = load_method("reader", kind_of(path, name))(**knobs)
    for record in reader.read(path, name):
        yield _seen(record)


def _seen(record: Record | Rejected) -> Seen:
    if isinstance(record, Rejected):
        return Seen(record.line, None, "", record.excerpt)
    content = content_hash(record.text)
    return Seen(record.line, content if record.key is None else record.key, content, record.text)


def cut(path: Path, name: str, gone: Gone, *, whole_files: bool = False) -> list[Seen]:
    """Rewrite a file without some of its records, or remove it with its only one; returns those that went.

    With `whole_files` a file that cannot be rewritten is removed whole.

    Raises:
        ValueError: the file holds such a record and cannot be rewritten; the message says what to do.
    """
    kind = kind_of(path, name)
    begins, went = [], []
    for record in seen(path, name):
        begins.append(record.line)
        if gone(record):
            went.append(record)
    if not went:
        return []
    if len(went) == len(begins) or kind not in LINES | TABLES:
        path.unlink()
        return went
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        if kind == "parquet":
            _cut_parquet(path, partial, {record.line for record in went})
        elif kind in LINES:
            _cut_lines(path, partial, _spans(kind, begins, {record.line for record in went}))
        else:
            raise ValueError("an Arrow file")
        left = [record for record in seen(partial, name) if gone(record)]
        if left:
            raise ValueError(f"line {left[0].line} is still found in what was written")
        partial.replace(path)
    except (ValueError, DamagedError, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # the disk, not the file
            raise
        if not whole_files:
            raise ValueError(
                f"{path}: holds {len(went)} of the documents and cannot be rewritten without them ({error}); add "
                "--whole-files to remove all of its documents, then land the others again as JSON lines"
            ) from error
        path.unlink()
    finally:
        partial.unlink(missing_ok=True)
    return went


def _spans(kind: str, begins: list[int], gone: set[int]) -> list[tuple[int, int]]:
    """The lines that go, from and before: a row of a table ends where the next begins."""
    ends = [*begins[1:], 2**62]
    return [
        (begin, begin + 1 if kind == "jsonl" else end) for begin, end in zip(begins, ends, strict=True) if begin in gone
    ]


def _cut_lines(path: Path, target: Path, spans: list[tuple[int, int]]) -> None:
    with path.open("rb") as reading:
        start = reading.read(64)
    codec = next((each.name for each in CODECS if each.magic.match(start)), "")
    number, place = 1, 0
    with target.open("wb") as file, _packed(file, codec) as writing:
        for piece in _pieces(chunks(path, MAX_EXPANSION)):
            while place < len(spans) and number >= spans[place][1]:
                place += 1
            if place == len(spans) or number < spans[place][0]:
                writing.write(piece)
            number += piece.endswith(b"\n")
    with target.open("rb") as written:
        os.fsync(written.fileno())


def _pieces(source: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, cut after every line break."""
    for chunk in source:
        yield from io.BytesIO(chunk)


def _packed(file: BinaryIO, codec: str) -> Any:
    if codec == "gzip":
        return gzip.GzipFile("", "wb", 6, file, mtime=0)
    if codec == "bzip2":
        return bz2.BZ2File(file, "wb")
    if codec == "xz":
        return lzma.LZMAFile(file, "wb")
    if codec == "zstd":
        import zstandard

        return zstandard.ZstdCompressor().stream_writer(file, closefd=False)
    return contextlib.nullcontext(file)


def _cut_parquet(path: Path, target: Path, gone: set[int]) -> None:
    """Rows are numbered from 1."""
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with (
            pyarrow.parquet.ParquetFile(path) as table,
            pyarrow.parquet.ParquetWriter(target, table.schema_arrow) as writer,
        ):
            for group in range(table.num_row_groups):
                rows = table.read_row_group(group)
                kept = [number + place + 1 not in gone for place in range(rows.num_rows)]
                number += rows.num_rows
                writer.write_table(rows.filter(pyarrow.array(kept, pyarrow.bool_())))
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from error
