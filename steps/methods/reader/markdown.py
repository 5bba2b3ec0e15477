"""Markdown: one file is one document, without its front matter."""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import ClassVar

from steps.core.method import Cite
from steps.methods.reader import Reader, Record, Rejected
from steps.methods.reader._shared import document, whole_text

FRONT_CHARACTERS = 2**16  # what is longer is no front matter
FENCES = {"---": re.compile(r"\n(?:---|\.\.\.)[ \t]*(?:\n|$)"), "+++": re.compile(r"\n\+\+\+[ \t]*(?:\n|$)")}
LANGUAGE, LICENCE, TIME = ("language", "lang"), ("licence", "license"), ("time", "date")
STATED = re.compile(rf"^({'|'.join((*LANGUAGE, *LICENCE, *TIME))})[ \t]*[:=][ \t]*(\S.*)$", re.MULTILINE)
QUOTED = re.compile(r"""\s*(?:"([^"\\]*)"|'([^']*)')""")


class Markdown(Reader):
    """One document per file, as it is written, but for its front matter.

    Rule: front matter = what stands between a first line `---` and the next `---` or `...` (YAML), or between two
    `+++` (TOML); it is left out of the text. The file's path in the batch is the key.

    Its lines `name: value` (YAML) or `name = value` (TOML), where the name is `language` or `lang`, `licence` or
    `license`, `time` or `date` (ISO 8601) and the value one string, are the document's facts. Front matter of more than
    65,536 characters is text.
    Differs:    no YAML is parsed: a stranger's can take its parser minutes (quadratic nesting), for three strings
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


def _parted(text: str) -> tuple[dict[str, str], str]:
    """What the front matter states, and the text after it."""
    fence = text[:3]
    if fence not in FENCES or text[3:].split("\n", 1)[0].strip():
        return {}, text
    end = FENCES[fence].search(text, 3, FRONT_CHARACTERS)
    if end is None:
        return {}, text
    stated = {match[1]: _value(match[2]) for match in STATED.finditer(text, 3, end.start())}
    return stated, text[end.end() :].lstrip("\n")


def _value(written: str) -> str:
    """A plain or quoted string, without a comment after it; empty: neither."""
    quoted = QUOTED.match(written)
    if quoted:
        return quoted[1] or quoted[2] or ""
    return "" if written.startswith(tuple("[{&*!|>%@`\"'#")) else re.split(r"\s#", written, maxsplit=1)[0].strip()


def _fact(facts: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((facts[name] for name in names if facts.get(name)), None)


def _time(facts: dict[str, str]) -> str | None:
    time = _fact(facts, TIME)
    try:
        date.fromisoformat((time or "")[:10])
    except ValueError:
        return None
    return time
