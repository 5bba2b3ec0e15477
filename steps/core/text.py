"""Texts cut into passages."""

import re
from itertools import pairwise

BOUNDARY = re.compile(r"\n+|(?<=[.!?])[\"')\]]*[ \t]+")  # the next line keeps its indentation
BLANK_LINES = re.compile(r"\A(?:[ \t]*\n)+")


def passages(text: str, max_words: int, min_words: int) -> list[str]:
    """A text, whole if it is short, else cut at sentence and line starts; its whitespace is kept within a passage.

    Words are separated by whitespace. A sentence longer than `max_words` is cut between words; passages under
    `min_words` are left out.
    """
    if len(text.split()) <= max_words:
        return [text] if len(text.split()) >= min_words else []
    found, start, count = [], 0, 0
    for begin, end in _units(text, max_words):
        size = len(text[begin:end].split())
        if count and count + size > max_words:
            found.append(text[start:begin])
            start, count = begin, 0
        count += size
    found.append(text[start:])
    trimmed = [BLANK_LINES.sub("", passage).rstrip() for passage in found]
    return [passage for passage in trimmed if len(passage.split()) >= min_words]


def _units(text: str, max_words: int) -> list[tuple[int, int]]:
    """Spans of sentences and lines; long ones are cut between words."""
    cuts = sorted({0, len(text), *(match.end() for match in BOUNDARY.finditer(text))})
    units = []
    for begin, end in pairwise(cuts):
        starts = [begin + match.start() for match in re.finditer(r"\S+", text[begin:end])]
        inner = [begin, *starts[max_words::max_words], end]
        units += list(pairwise(inner))
    return units
