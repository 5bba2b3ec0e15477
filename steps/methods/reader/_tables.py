"""What Parquet and Arrow files share: record batches become records."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from steps.methods.reader import Reader, Record, Rejected, excerpt
from steps.methods.reader._rows import COLUMNS, record_of
from steps.methods.reader._unpack import FREE_BYTES

ROWS = 64  # made into Python objects at a time: the longest documents allowed, together, stay below 1 GiB
ROW_BYTES = 64  # what a row counts, beside its text, in how much a file grows


def known_columns(names: Iterable[str]) -> list[str]:
    """Those of a table's columns that make a record; one that comes twice is none: nobody knows which is meant."""
    found = list(names)
    return [name for name in found if name in COLUMNS and found.count(name) == 1]


def one_thread() -> None:
    """Let Arrow compute in this thread."""
    import pyarrow

    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(1)


def records_of(batches: Iterable[Any], file: Path, reader: Reader) -> Iterator[Record | Rejected]:
    """The records of Arrow record batches, numbered from 1, until they are more than the file can honestly hold."""
    allowed = max(FREE_BYTES, reader.max_expansion * file.stat().st_size)
    number = num_bytes = 0
    for batch in batches:
        for row in _rows(batch):
            number += 1
            found = _record(row, number, reader.max_line_bytes)
            num_bytes += ROW_BYTES + (len(found.text) if isinstance(found, Record) else 0)
            if num_bytes > allowed:
                yield Rejected(number, "expands-too-much", "")
                return
            yield found
    if not number:
        yield Rejected(1, "empty-file", "")


def _record(row: dict[str, Any] | None, number: int, max_bytes: int) -> Record | Rejected:
    if row is None:
        return Rejected(number, "invalid-value", "")
    found = record_of(row, number)
    if isinstance(found, Record) and len(found.text) > max_bytes:
        return Rejected(number, "record-too-long", excerpt(found.text))
    return found


def _rows(batch: Any) -> Iterator[dict[str, Any] | None]:
    """The rows of a batch; none for one with a value that Python cannot hold, such as text that is no UTF-8."""
    for begin in range(0, batch.num_rows, ROWS):
        part = batch.slice(begin, ROWS)
        try:
            yield from part.to_pylist()
        except (ValueError, OverflowError):
            for place in range(part.num_rows):
                try:
                    yield part.slice(place, 1).to_pylist()[0]
                except (ValueError, OverflowError):
                    yield None
