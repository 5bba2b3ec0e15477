"""Parquet: one record per row, streamed by parts of row groups."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from steps.core.method import Cite
from steps.methods.reader import Record, Rejected, excerpt
from steps.methods.reader._guard import GuardedReader
from steps.methods.reader._tables import ROWS, known_columns, one_thread, records_of

MAGIC = b"PAR1"
BUFFER_BYTES = 2**20


class Parquet(GuardedReader):
    """One record per row; only the columns that make a record are read.

    Rule: a row is a record if it has a string `text` that is not blank, or is a labelled one; `line` is its number.

    Which columns are read, and what a labelled row is, `_rows.record_of` says. Pages with checksums are checked. The
    file itself is read as it is: Parquet compresses inside, so a `.parquet.gz` is rejected.
    Reduces to: none (a file format).
    """

    cite: ClassVar[Cite] = Cite(title="Apache Parquet", id="apache/parquet-format", where="README", checked="recalled")
    libraries: ClassVar[tuple[str, ...]] = ("pyarrow.parquet",)

    def parse(self, file: Path, name: str) -> Iterator[Record | Rejected]:
        """The records of a file, in the order of its rows."""
        import pyarrow
        import pyarrow.parquet

        with file.open("rb") as stream:
            start = stream.read(1024)
        if not start.startswith(MAGIC):
            yield Rejected(1, "not-parquet" if start else "empty-file", excerpt(start))
            return
        one_thread()
        with pyarrow.parquet.ParquetFile(
            file, pre_buffer=False, buffer_size=BUFFER_BYTES, page_checksum_verification=True
        ) as table:
            columns = known_columns(table.schema_arrow.names)
            batches = table.iter_batches(batch_size=ROWS, columns=columns, use_threads=False)
            yield from records_of(batches, file, self)
