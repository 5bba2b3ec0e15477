"""Tables as text: comma-, tab- or otherwise separated values, the first row naming the columns."""

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from steps.core.method import Cite
from steps.methods.reader import Reader, Record, Rejected, excerpt
from steps.methods.reader._rows import record_of
from steps.methods.reader._shared import BYTE_ORDER_MARK, Line, head, lines

DELIMITERS = ",;\t|"
PATIENCE = 8  # a quote that is never closed makes its lines be read again; so often at most


class Csv(Reader):
    """One record per row; a quoted field may hold line breaks.

    Rule: the first row names the columns; a row is a record if it has as many fields, and a `text` that is not blank
    or a `prompt` and a `completion`.

    Fields are quoted as RFC 4180 says. The delimiter is the tab for `.tsv`, else whichever of `, ; tab |` is most
    frequent in the first line. Names of columns count without their case and outer spaces; an empty cell counts as
    absent. A row that breaks the rules of quoting costs its first line: its other lines are read as rows of their own.
    Reduces to: none (a file format).
    """

    cite: ClassVar[Cite] = Cite(title="CSV reader", id="doi:10.17487/RFC4180", where="section 2", checked="recalled")

    def read(self, file: Path, name: str) -> Iterator[Record | Rejected]:
        """The records of a file, in the order of its rows.

        Raises:
            OSError: the file cannot be read.
        """
        start = head(file).removeprefix(BYTE_ORDER_MARK)
        if b"\0" in start:
            yield Rejected(1, "binary", excerpt(start))
            return
        first = start.partition(b"\n")[0].decode(errors="replace")
        tabs = ".tsv" in Path(name.lower()).suffixes
        delimiter = "\t" if tabs else max(DELIMITERS, key=first.count)
        csv.field_size_limit(max(csv.field_size_limit(), self.max_line_bytes))  # the standard library's, for all
        columns: list[str] | None = None
        empty = True
        for number, row in _rows(lines(file, self), delimiter, self.max_line_bytes):
            if isinstance(row, Rejected):
                yield row
            elif columns is None:
                columns = [column.strip().lower() for column in row]
                continue
            else:
                yield _record(columns, row, number, delimiter)
            empty = False
        if empty:
            yield Rejected(1, "empty-file", "")


def _record(columns: list[str], row: list[str], number: int, delimiter: str) -> Record | Rejected:
    shown = delimiter.join(row)
    try:
        shown.encode()
    except UnicodeEncodeError:
        return Rejected(number, "invalid-utf-8", excerpt(shown.encode(errors="surrogateescape")))
    if len(row) != len(columns):
        return Rejected(number, "wrong-number-of-fields", excerpt(shown))
    cells = zip(columns, row, strict=True)
    return record_of({column: cell if cell or column == "text" else None for column, cell in cells}, number, shown)


class _UnclosedError(Exception):
    """A quoted field did not end where it could have."""


def _rows(source: Iterator[Line], delimiter: str, max_bytes: int) -> Iterator[tuple[int, list[str] | Rejected]]:
    """The rows of a table with the numbers of their first lines; blank lines are none."""
    again: deque[Line] = deque()  # lines of a row that was none
    patience = PATIENCE

    def following() -> Line | None:
        return again.popleft() if again else next(source, None)

    def row_from(first: Line, taken: list[Line]) -> Iterator[str]:
        yield _text(first)
        num_bytes = len(first.raw)
        while patience and (line := following()) is not None:
            taken.append(line)
            num_bytes += len(line.raw)
            if line.problem or num_bytes > max_bytes:
                raise _UnclosedError
            yield _text(line)

    while True:
        patience = patience if again else PATIENCE
        line = following()
        if line is None:
            return
        if line.problem:
            yield line.number, Rejected(line.number, line.problem, excerpt(line.raw))
        elif line.raw.removeprefix(BYTE_ORDER_MARK).strip(b" \r"):
            taken: list[Line] = []
            try:
                yield line.number, next(csv.reader(row_from(line, taken), delimiter=delimiter, strict=True))
            except (csv.Error, _UnclosedError):
                again.extendleft(reversed(taken))
                patience -= bool(patience)
                yield line.number, Rejected(line.number, "invalid-csv", excerpt(line.raw))


def _text(line: Line) -> str:
    raw = line.raw.removeprefix(BYTE_ORDER_MARK) if line.number == 1 else line.raw
    return raw.removesuffix(b"\r").decode(errors="surrogateescape") + "\n"
