"""JSON lines: one object per line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from steps.core.method import Cite
from steps.methods.reader import Reader, Record, Rejected, excerpt
from steps.methods.reader._shared import Line, head, lines

OPTIONAL = {"key": ("key", "id"), "source": ("source",), "language": ("language",), "time": ("time",)}
OPTIONAL |= {"licence": ("licence", "license")}


class _Refused(Exception):
    """Why a line is no record: the reason code."""


def _refuse_constant(name: str) -> NoReturn:
    raise _Refused("not-finite")


class Jsonl(Reader):
    """One record per line.

    Rule: a line is a record if it is an object with a string `text` that is not blank.

    Optional strings: `key` (or `id`, which may be an integer), `source`, `language`, `time`, `licence` (or
    `license`); null counts as absent; other fields are ignored. Blank lines are no records; of keys that an object
    repeats the last one holds.
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
        for line in lines(file, self.max_line_bytes):
            raw = line.raw.removeprefix(b"\xef\xbb\xbf") if line.number == 1 else line.raw
            if line.problem:
                yield Rejected(line.number, line.problem, excerpt(raw))
            elif raw.strip():
                yield _parse(Line(line.number, raw))
            else:
                continue
            empty = False
        if empty:
            yield Rejected(1, "empty-file", "")


def _parse(line: Line) -> Record | Rejected:
    """One line as a record, or the first reason why it is none."""
    try:
        row = _decode(line.raw)
        found = {field: _optional(row, field, names) for field, names in OPTIONAL.items()}
        record = Record(line=line.number, text=_text(row), **found)
        "".join(value for value in (record.text, *found.values()) if value).encode()
    except _Refused as refused:
        return Rejected(line.number, str(refused), excerpt(line.raw))
    except UnicodeEncodeError:  # half of an escaped surrogate pair: no text on any disk
        return Rejected(line.number, "lone-surrogate", excerpt(line.raw))
    return record


def _decode(raw: bytes) -> dict[str, Any]:
    try:
        row = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise _Refused("invalid-utf-8") from error
    except RecursionError as error:
        raise _Refused("nested-too-deep") from error
    except ValueError as error:
        raise _Refused("binary" if b"\0" in raw else "invalid-json") from error
    if not isinstance(row, dict):
        raise _Refused("not-an-object")
    return row


def _text(row: dict[str, Any]) -> str:
    if "text" not in row:
        raise _Refused("missing-text")
    text = row["text"]
    if text is None:
        raise _Refused("null-text")
    if not isinstance(text, str):
        raise _Refused("wrong-type-text")
    if not text.strip():
        raise _Refused("empty-text")
    return text


def _optional(row: dict[str, Any], field: str, names: tuple[str, ...]) -> str | None:
    value = next((row[name] for name in names if row.get(name) is not None), None)
    if field == "key" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is None or isinstance(value, str):
        return value
    raise _Refused(f"wrong-type-{field}")
