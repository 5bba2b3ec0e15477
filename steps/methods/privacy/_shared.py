"""Matches as the finders make them, and one list without overlap out of several."""

import re
from collections.abc import Iterable

from steps.methods.privacy import Found

RANK = ("private-key", "api-key", "email", "iban", "card", "national-id", "ip", "phone")  # who names an overlap
REACH = 40  # characters before a number in which a word may say what it is


def said_before(words: re.Pattern[str], text: str, begin: int, reach: int = REACH) -> bool:
    """Whether one of `words` stands shortly before `begin`."""
    return words.search(text, max(0, begin - reach), begin) is not None


def without_overlap(found: Iterable[Found], rank: tuple[str, ...] = RANK) -> list[Found]:
    """Matches in the order of their places; those that overlap become one, called after the kind that ranks first.

    The union is taken, not the better match, so that no part of either is left to be read.
    """
    places = {kind: place for place, kind in enumerate(rank)}
    kept: list[Found] = []
    for match in sorted(found, key=lambda match: (match.begin, -match.end)):
        if not kept or match.begin >= kept[-1].end:
            kept.append(match)
            continue
        last = kept[-1]
        kind = min(last.kind, match.kind, key=lambda kind: places.get(kind, places.get("national-id", len(rank))))
        kept[-1] = Found(kind, last.begin, max(last.end, match.end))
    return kept
