"""JSON lines: one object per line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from steps.core.method import Cite
from steps.methods.reader import Reader, Record, Rejected, excerpt
from steps.methods.reader._rows import RefusedError, record_of
from steps.methods.reader._shared import BYTE_ORDER_MARK, head, lines


def _refuse_constant(name: str) -> NoReturn:
    raise RefusedError("not-finite")


class Jsonl(Reader):
    """One record per line.

    Rule: a line is a record if it is an object with a string `text` that is not blank, or a labelled one.

    Which fields are read, and what a labelled row is, `_rows.record_of` says. Blank lines are no records; of keys that
    an object repeats the last one holds.
    Reduces to: none (a file format).
    """

    cite: ClassVar[Cite] = Cite(title="JSON lines reader", id="ours", where="this file", checked="code")

    def read(self, file: Path, name: str) -> Iterator[Record | Rejected]:
        """The records of a file, in the order of its lines.

        Raises:
            OSError: the file cannot be read.
        """
        start = head(file)
        if b"\0" in start:
            yield Rejected(1, "binary", excerpt(start))
            return
        empty = True
        for line in lines(file, self, empty=False):
            raw = line.raw.removeprefix(BYTE_ORDER_MARK) if line.number == 1 else line.raw
            if line.problem:
                yield Rejected(line.number, line.problem, excerpt(raw))
            elif raw.strip():
                yield _parse(line.number, raw)
            else:
                continue
            empty = False
        if empty:
            yield Rejected(1, "empty-file", "")


def _parse(number: int, raw: bytes) -> Record | Rejected:
    """One line as a record, or the first reason why it is none."""
    try:
        row = _decode(raw)
    except RefusedError as refused:
        return Rejected(number, str(refused), excerpt(raw))
    return record_of(row, number, raw)


def _decode(raw: bytes) -> dict[str, Any]:
    try:
        row = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise RefusedError("invalid-utf-8") from error
    except RecursionError as error:
        raise RefusedError("nested-too-deep") from error
    except ValueError as error:
        raise RefusedError("binary" if b"\0" in raw else "invalid-json") from error
    if not isinstance(row, dict):
        raise RefusedError("not-an-object")
    return row
