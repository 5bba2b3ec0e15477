"""Markdown: one file is one document, without its front matter."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

from steps.core.method import Cite
from steps.methods.reader import Reader, Record, Rejected
from steps.methods.reader._shared import document, whole_text

FRONT_CHARACTERS = 2**16  # what is longer is no front matter, and would take YAML long to read
FENCES = {"---": re.compile(r"\n(?:---|\.\.\.)[ \t]*(?:\n|$)"), "+++": re.compile(r"\n\+\+\+[ \t]*(?:\n|$)")}
LANGUAGE, LICENCE, TIME = ("language", "lang"), ("licence", "license"), ("time", "date")


class Markdown(Reader):
    """One document per file, as it is written, but for its front matter.

    Rule: front matter = what stands between a first line `---` and the next `---` or `...` (YAML), or between two
    `+++` (TOML); it is left out of the text. The file's path in the batch is the key.

    Of the front matter, strings called `language` or `lang`, `licence` or `license`, and `time` or `date` (ISO 8601)
    are the document's; what cannot be read states nothing. Longer than 65,536 characters, it is text.
    Reduces to: exact `text` without front matter.
    """

    cite: ClassVar[Cite] = Cite(title="Markdown reader", id="ours", where="this file", checked="code")

    def read(self, file: Path, name: str) -> Iterator[Record | Rejected]:
        """The one document of a file, or the reason why it is none.

        Raises:
            OSError: the file cannot be read.
        """
        text = whole_text(file, self)
        if isinstance(text, Rejected):
            yield text
            return
        facts, body = _parted(text)
        yield document(
            body,
            name,
            language=_fact(facts, LANGUAGE),
            time=_time(facts),
            licence=_fact(facts, LICENCE),
        )


def _parted(text: str) -> tuple[Mapping[str, Any], str]:
    """What the front matter states, and the text after it."""
    fence = text[:3]
    if fence not in FENCES or text[3:].split("\n", 1)[0].strip():
        return {}, text
    end = FENCES[fence].search(text, 3, FRONT_CHARACTERS)
    if end is None:
        return {}, text
    stated = _stated(fence, text[text.index("\n") : end.start()])
    return stated, text[end.end() :].lstrip("\n")


def _stated(fence: str, front: str) -> Mapping[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(front) if fence == "---" else tomllib.loads(front)
    except (yaml.YAMLError, ValueError, RecursionError):  # a date like 2020-99-99 is a ValueError
        return {}
    return found if isinstance(found, dict) else {}


def _fact(facts: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    value = next((facts[name] for name in names if facts.get(name) is not None), None)
    return value.strip() or None if isinstance(value, str) else None


def _time(facts: Mapping[str, Any]) -> str | None:
    value = next((facts[name] for name in TIME if facts.get(name) is not None), None)
    if isinstance(value, str):
        try:
            date.fromisoformat(value[:10])
        except ValueError:
            return None
        return value
    return value.isoformat() if isinstance(value, date) else None
