"""What the four rule sets share: lines, and which of them were there before."""

from typing import Any, NamedTuple

import numpy as np

from steps.core.compiled import compiled
from steps.core.cutter import SPACE
from steps.core.texts import Texts
from steps.core.tokens import character_classes
from steps.methods.quality import Judgement

Array = np.ndarray


class Lines(NamedTuple):
    """The lines of N texts, in order."""

    texts: Array  # int64 [N + 1]: text i has the lines [texts[i], texts[i + 1])
    begin: Array  # int64 [L]: as an index of the code points
    end: Array  # int64 [L]
    keys: Array  # uint64 [L]: hash of the characters


class Repeated(NamedTuple):
    """The elements of each of N texts that were there before in the same text."""

    counts: Array  # int64 [N]
    characters: Array  # int64 [N]
    first: Array  # int64 [N]: the first of them, -1: none


class Verdicts(NamedTuple):
    """The condition that each of N texts fails first, as compiled code finds it."""

    code: Array  # int64 [N]: -1: none
    found: Array  # float64 [N]: what was measured, of the first condition where none fails
    begin: Array  # int64 [N]: the offending part, as an index of the code points; -1: there is none
    end: Array  # int64 [N]

    @classmethod
    def fit(cls, num_texts: int) -> "Verdicts":
        """Nothing failed yet."""
        none = np.full(num_texts, -1, dtype=np.int64)
        return cls(none, np.zeros(num_texts), none.copy(), none.copy())


def lines_of(texts: Texts, newlines: int = 1, stripped: bool = False, blank: bool = True) -> Lines:
    """Texts cut at runs of at least so many line feeds; stripped before; with or without blank lines."""
    most = int(np.count_nonzero(texts.codes == 10)) + len(texts)
    begin, end = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
    lines = Lines(np.zeros(len(texts) + 1, dtype=np.int64), begin, end, np.empty(most, dtype=np.uint64))
    num = _split(texts.codes, texts.offsets, character_classes(), np.uint32(SPACE), newlines, stripped, blank, lines)
    return Lines(lines.texts, *(column[:num] for column in lines[1:]))


def repeated(lines: Lines) -> Repeated:
    """Which lines were there before in the same text."""
    num = len(lines.texts) - 1
    found = Repeated(*(np.zeros(num, dtype=np.int64) for _ in range(3)))
    size = 1 << int(2 * np.diff(lines.texts).max(initial=1)).bit_length()
    _repeated(lines, found, np.empty(size, dtype=np.uint64), np.full(size, -1, dtype=np.int64))
    return found


def judgements(texts: Texts, verdicts: Verdicts, reasons: list[str], limits: list[float]) -> list[Judgement]:
    """Verdicts in words; reasons and limits by code."""
    starts = texts.offsets[:-1]
    columns = (verdicts.code, verdicts.found, verdicts.begin, verdicts.begin - starts, verdicts.end - starts)
    return [
        Judgement("", found, limits[0])
        if code < 0
        else Judgement(reasons[code], found, limits[code], (begin, end) if place >= 0 else None)
        for code, found, place, begin, end in zip(*(column.tolist() for column in columns), strict=True)
    ]


def limit_of(knob: float | None, off: float = np.inf) -> float:
    """A limit as compiled code compares with it; 0 and none switch it off."""
    return float(knob) if knob else off


@compiled
def _split(
    codes: Array, offsets: Array, classes: Array, space: Any, newlines: int, stripped: bool, blank: bool, lines: Lines
) -> int:
    num = 0
    for text in range(len(offsets) - 1):
        lo, hi = offsets[text], offsets[text + 1]
        while stripped and lo < hi and classes[codes[lo]] & space:
            lo += 1
        while stripped and lo < hi and classes[codes[hi - 1]] & space:
            hi -= 1
        begin = lo
        while begin <= hi:
            end, key, some = begin, np.uint64(0), False
            while end < hi:
                code = codes[end]
                if code == 10 and (newlines == 1 or (end + 1 < hi and codes[end + 1] == 10)):
                    break
                key = key * np.uint64(0x9E3779B97F4A7C15) + np.uint64(code) + np.uint64(1)
                some |= not classes[code] & space
                end += 1
            if blank or some:
                lines.begin[num], lines.end[num], lines.keys[num] = begin, end, key
                num += 1
            begin = end + 1
            while end < hi and begin < hi and codes[begin] == 10:
                begin += 1
        lines.texts[text + 1] = num
    return num


@compiled
def _repeated(lines: Lines, found: Repeated, keys: Array, owners: Array) -> None:
    mask = len(keys) - 1
    for text in range(len(lines.texts) - 1):
        found.first[text] = -1
        for line in range(lines.texts[text], lines.texts[text + 1]):
            key = lines.keys[line]
            slot = np.int64((key * np.uint64(0xD6E8FEB86659FD93)) >> np.uint64(32)) & mask
            while owners[slot] == text and keys[slot] != key:
                slot = (slot + 1) & mask
            if owners[slot] == text:
                found.counts[text] += 1
                found.characters[text] += lines.end[line] - lines.begin[line]
                if found.first[text] < 0:
                    found.first[text] = line
            owners[slot], keys[slot] = text, key
