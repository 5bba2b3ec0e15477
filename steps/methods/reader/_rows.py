"""What JSON lines, tables and Arrow files share: from a row of named values to a record."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from steps.methods.reader import Record, Rejected, excerpt

OPTIONAL = {"key": ("key", "id"), "source": ("source",), "language": ("language",), "time": ("time",)}
OPTIONAL |= {"licence": ("licence", "license")}
LABELLED = ("prompt", "completion", "messages")
COLUMNS = frozenset(("text", *LABELLED, *(name for names in OPTIONAL.values() for name in names)))


class RefusedError(Exception):
    """Why a row is no record: the reason code."""


def record_of(row: Mapping[str, Any], line: int, shown: bytes | str = "") -> Record | Rejected:
    """A row as a record, or the first reason why it is none.

    A row is labelled if it has `messages` (a list of objects with the strings `role` and `content`), or `prompt` and
    `completion` (strings); what it says is then its turns, joined by blank lines, whatever `text` holds. Else it has a
    string `text`. Optional strings: `key` (or `id`, which may be an integer), `source`, `language`, `time` (or a date),
    `licence` (or `license`). Null counts as absent; other fields are ignored.
    """
    try:
        found = {field: _optional(row, field, names) for field, names in OPTIONAL.items()}
        messages = _messages(row)
        text = _text(row) if messages is None else "\n\n".join(content for _, content in messages)
        if not text.strip():
            raise RefusedError("empty-text")
        said = (text, *found.values(), *(role for role, _ in messages or ()))
        "".join(value for value in said if value).encode()
    except RefusedError as refused:
        return Rejected(line, str(refused), excerpt(shown or str(row.get("text") or "")))
    except UnicodeEncodeError:  # half of an escaped surrogate pair: no text on any disk
        return Rejected(line, "lone-surrogate", excerpt(shown or str(row.get("text") or "")))
    return Record(line=line, text=text, messages=messages, **found)


def _text(row: Mapping[str, Any]) -> str:
    if "text" not in row:
        raise RefusedError("missing-text")
    text = row["text"]
    if text is None:
        raise RefusedError("null-text")
    if not isinstance(text, str):
        raise RefusedError("wrong-type-text")
    return text


def _messages(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...] | None:
    """The turns of a labelled row; none: it is plain text."""
    turns = row.get("messages")
    if turns is None:
        if row.get("prompt") is None or row.get("completion") is None:
            return None
        turns = [{"role": role, "content": row[role]} for role in ("prompt", "completion")]
        for turn in turns:
            if not isinstance(turn["content"], str):
                raise RefusedError(f"wrong-type-{turn['role']}")
        if not row["completion"].strip():
            raise RefusedError("empty-completion")
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise RefusedError("wrong-type-messages")
    if not turns:
        raise RefusedError("empty-messages")
    messages = tuple((turn.get("role"), turn.get("content")) for turn in turns)
    if not all(isinstance(part, str) for message in messages for part in message):
        raise RefusedError("wrong-type-messages")
    return messages


def _optional(row: Mapping[str, Any], field: str, names: tuple[str, ...]) -> str | None:
    value = next((row[name] for name in names if row.get(name) is not None), None)
    if field == "key" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if field == "time" and isinstance(value, date):
        return value.isoformat()
    if value is None or isinstance(value, str):
        return value
    raise RefusedError(f"wrong-type-{field}")
