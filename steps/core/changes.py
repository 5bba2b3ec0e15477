"""What a new version of a text says that the older one did not."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np

WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|\w+|[^\w\s]")  # scripts without spaces: each character
ENDS = frozenset(".!?;:{}。！？")
MOST_WORDS = 64  # of a clause


def changed_spans(old: str, new: str) -> list[tuple[int, int]]:
    """The words of a text that are new or stand where others stood, as spans of characters; white space never counts.

    Clauses are compared first, and words within those that differ, so that long texts cost little. What was only
    left out leaves no mark.
    """
    before, after = ([match.span() for match in WORD.finditer(text)] for text in (old, new))
    words = [old[begin:end] for begin, end in before], [new[begin:end] for begin, end in after]
    clauses = [_clauses(side) for side in words]
    said = [[tuple(side[first:last]) for first, last in cut] for side, cut in zip(words, clauses, strict=True)]
    found: list[tuple[int, int]] = []
    for first, last, start, stop in _differing(*said):
        if start == stop:
            continue
        begin, end = clauses[1][start][0], clauses[1][stop - 1][1]
        there = words[0][clauses[0][first][0] : clauses[0][last - 1][1]] if last > first else []
        found += [after[begin + word] for _, _, a, b in _differing(there, words[1][begin:end]) for word in range(a, b)]
    return found


def marked(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """Which tokens, by the characters that they stand for, lie at least in part in a span, bool."""
    length = max((end for _, end in (*offsets, *spans)), default=0)
    inside = np.zeros(length + 1, dtype=np.int64)
    for begin, end in spans:
        inside[begin + 1 : end + 1] = 1
    before = np.cumsum(inside)
    places_L2 = np.array(offsets, dtype=np.int64).reshape(-1, 2)
    found: np.ndarray = before[places_L2[:, 1]] > before[places_L2[:, 0]]
    return found


def _clauses(words: Sequence[str]) -> list[tuple[int, int]]:
    found, start = [], 0
    for place, word in enumerate(words, 1):
        if word in ENDS or place - start == MOST_WORDS or place == len(words):
            found.append((start, place))
            start = place
    return found


def _differing(before: Sequence[Any], after: Sequence[Any]) -> list[tuple[int, int, int, int]]:
    """What differs, as places in both; what is frequent in a long sequence is no anchor, or time would be quadratic."""
    shorter = min(len(before), len(after))
    same = next((place for place in range(shorter) if before[place] != after[place]), shorter)
    left = shorter - same
    tail = next((place for place in range(left) if before[-1 - place] != after[-1 - place]), left)
    matcher = SequenceMatcher(None, before[same : len(before) - tail], after[same : len(after) - tail])
    return [
        (same + first, same + last, same + start, same + stop)
        for kind, first, last, start, stop in matcher.get_opcodes()
        if kind != "equal"
    ]
