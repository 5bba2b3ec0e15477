"""What is to be forgotten, and how it is known wherever it may stand: in rows, in JSON, in what people read."""

import contextlib
import gzip
import hashlib
import html
import json
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import orjson
from pydantic import Field

from steps.core.artifacts import Frozen
from steps.core.shards import canonical_json

WINDOW_WORDS = 8  # a text is known by any run of so many of its words
SHORT_CHARACTERS = 12  # a shorter text is too common to be looked for in prose
SHORT_KEY = 6  # characters; likewise
REMOVED = "[forgotten]"
KEYS = {"key", "keys", "document", "of", "stale", "withdrawn", "removals"}  # fields that hold keys of documents
ITEMS = {"id", "item"}
SAID = frozenset({"text", "messages"})  # what another document says is its own, even if both say it
STUB = "<!DOCTYPE html>\n<html><body><p>This page showed a document that was forgotten.</p></body></html>\n"


class Target(Frozen):
    """Documents by key, content hash, item and place in a landing; of their texts only hashes of runs of words."""

    keys: frozenset[str]
    contents: frozenset[str]
    items: frozenset[str] = Field(frozenset(), description="ids of the hold-out items that were cut from them")
    lines: frozenset[tuple[str, str, int]] = Field(frozenset(), description="batch, file and line where they landed")
    runs: frozenset[str] = Field(frozenset(), description="hashes of runs of words, each after their number")

    def document(self, key: str | None, content: str) -> bool:
        """Whether a document is one of them."""
        return key in self.keys or content in self.contents

    def row(self, row: Any) -> bool:
        """Whether a row of JSON is about one of them and nothing else."""
        if not isinstance(row, dict):
            return False
        found = (row.get(name) for name in ("key", "document"))
        return (
            any(isinstance(key, str) and key in self.keys for key in found)
            or any(isinstance(row.get(name), str) and row[name] in self.items for name in ITEMS)
            or (isinstance(row.get("content_hash"), str) and row["content_hash"] in self.contents)
            or _landed_at(row) in self.lines
        )

    def text(self, text: str) -> bool:
        """Whether prose, a page or a log shows one of them: a key, or a run of words of a text."""
        if any(key in text and re.search(rf"(?<!\w){re.escape(key)}(?!\w)", text) for key in self._long_keys):
            return True
        words = words_of(text)
        return any(run in self.runs for size in self._sizes for run in _runs(words, size))

    @cached_property
    def _sizes(self) -> list[int]:
        return sorted({int(run.partition(":")[0]) for run in self.runs})

    @cached_property
    def _long_keys(self) -> list[str]:
        """The keys as they may be spelled: in clear, in JSON, in a page."""
        long = [key for key in self.keys if len(key) >= SHORT_KEY]
        return list(dict.fromkeys(way for key in long for way in (key, json.dumps(key)[1:-1], html.escape(key))))

    def without(self, value: Any, field: str = "") -> Any:
        """The same JSON value without rows about them, and with their keys and texts taken out."""
        if isinstance(value, str):
            return REMOVED if (field in KEYS and value in self.keys) or self.text(value) else value
        if isinstance(value, list):
            kept = (one for one in value if not self.row(one) and not (field in KEYS and self._is_key(one)))
            return [self.without(one, field) for one in kept]
        if isinstance(value, dict):
            another = SAID if {"key", "document"} & value.keys() else frozenset[str]()
            return {
                name: one if name in another else self.without(one, name)
                for name, one in value.items()
                if name not in self.items and not (name in self.keys and len(name) >= SHORT_KEY)
            }
        return value

    def _is_key(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.keys

    def scrubbed(self, name: str, raw: bytes) -> bytes | None:
        """A file's bytes without them; none: it shows none of them."""
        if name.endswith(".gz"):
            with contextlib.suppress(OSError, EOFError):  # it is not what its name says
                inner = self.scrubbed(name.removesuffix(".gz"), gzip.decompress(raw))
                return None if inner is None else gzip.compress(inner, mtime=0)
        if b"\0" in raw[:4096]:
            return None
        with contextlib.suppress(ValueError):
            if name.endswith((".json", ".jsonl")):
                return self._lines(raw) if name.endswith("l") else self._json(raw)
        return self._prose(name, raw.decode("utf-8", errors="surrogateescape"))

    def _prose(self, name: str, text: str) -> bytes | None:
        if not self.text(html.unescape(text)):
            return None
        if name.endswith((".html", ".htm")):
            return self._page(text)
        kept = "".join(REMOVED + "\n" if self.text(line) else line for line in text.splitlines(keepends=True))
        return (REMOVED + "\n" if self.text(kept) else kept).encode("utf-8", errors="surrogateescape")

    def _page(self, text: str) -> bytes:
        """A page whose smallest parts that show one of them are emptied; if that does not do, nothing of it."""
        import lxml.html

        page = lxml.html.document_fromstring(text)
        for part in reversed(list(page.iter(lxml.etree.Element))):  # the inner ones come after those around them
            if self.text(part.text_content()):
                tail = part.tail
                part.clear()
                part.text, part.tail = REMOVED, tail
        after: str = lxml.html.tostring(page, encoding="unicode", doctype="<!DOCTYPE html>")
        return (STUB if self.text(html.unescape(after)) else after).encode("utf-8", errors="replace")

    def _json(self, raw: bytes) -> bytes | None:
        value = json.loads(raw)
        after = {} if self.row(value) else self.without(value)
        return None if after == value else (json.dumps(after, indent=1, ensure_ascii=False) + "\n").encode()

    def _lines(self, raw: bytes) -> bytes | None:
        lines = [line for line in raw.splitlines() if line.strip()]
        rows = [_parsed(line) for line in lines]
        after = [self.without(row) for row in rows if not self.row(row)]
        return None if after == rows else "".join(canonical_json(row) + "\n" for row in after).encode()


def _parsed(line: bytes) -> Any:
    """A line's value; one that a crash cut short is prose."""
    try:
        return orjson.loads(line)
    except ValueError:
        return line.decode(errors="replace")


def words_of(text: str) -> list[str]:
    """The words of a text, whatever stands between them."""
    return re.findall(r"\w+", text.casefold())


def runs_of(texts: Iterable[str]) -> frozenset[str]:
    """By what texts are known: their runs of words, hashed; a short text is one run, a very short one is none."""
    found: set[str] = set()
    for text in texts:
        words = words_of(text)
        if len(words) >= WINDOW_WORDS or sum(map(len, words)) >= SHORT_CHARACTERS:
            found.update(_runs(words, min(WINDOW_WORDS, len(words))))
    return frozenset(found)


def _runs(words: list[str], size: int) -> Iterator[str]:
    for begin in range(len(words) - size + 1):
        run = " ".join(words[begin : begin + size]).encode("utf-8", "surrogatepass")
        yield f"{size}:{hashlib.blake2b(run, digest_size=12).hexdigest()}"


def _landed_at(row: dict[str, Any]) -> tuple[str, str, int] | None:
    """The batch, file and line that a row names, if it names them."""
    match row:
        case {"batch": str(batch), "file": str(file), "line": int(line)}:
            return batch, file, line
    return None
