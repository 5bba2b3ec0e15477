"""Texts as they are compared: lower case, numbers as 0, punctuation as space, white space as one space, no diacritics.

The steps are those of datatrove's `simplify_text`, in its order, character by character: a table says what becomes of
each code point. Two characters need their neighbours: a digit (a number with one separator becomes a single 0), and the
capital sigma, for whose sake a text with one is lower-cased by Python first.

Differs: a run of white space that is left where a diacritic stood alone becomes one space, too.
"""

import functools
import unicodedata
from typing import NamedTuple

import numpy as np

from steps.core.compiled import compiled
from steps.core.texts import Texts

# datatrove 0.10.1, utils/text.py, PUNCTUATION: code points in hexadecimal
PUNCTUATION = """
    0-8 B-1F 21-2F 3A-40 5B-60 7B-9F AB B4 BB 2013-2014 2019 201C-201E 2026 2236 2501 25BA 3001-3002 3008-300D 3010-3011
    FF01 FF05 FF08-FF09 FF0C FF0E FF11 FF1A-FF1B FF1F FF5E
"""
SEPARATORS = ".,،٫⎖⎗⎘"  # one of them may stand within a number
SIGMA = "Σ"

BECOMES_SPACE, DIGIT, SEPARATOR, BECOMES_SEVERAL = 1, 2, 4, 8
MOST = 3  # characters that one becomes
RANGES = (range(0x32400), range(0xE0100, 0xE01F0))  # whatever lies outside stays as it is


class Table(NamedTuple):
    """What becomes of each code point."""

    kinds: np.ndarray  # uint8 [1114112]: bits
    single: np.ndarray  # uint32 [1114112]: what it becomes
    several: np.ndarray  # uint32 [S, MOST]: of the kind BECOMES_SEVERAL, in the row that `single` names; 0: no more


@functools.cache
def table() -> Table:
    """The table, made once a process."""
    kinds = np.zeros(0x110000, dtype=np.uint8)
    single = np.arange(0x110000, dtype=np.uint32)
    several: list[list[int]] = []
    marks = {code for part in PUNCTUATION.split() for code in _range(part)}
    for code in (code for codes in RANGES for code in codes):
        lower = chr(code).lower()
        found = [ord(it) for it in unicodedata.normalize("NFD", lower) if unicodedata.category(it) != "Mn"]
        if unicodedata.category(lower[0]) == "Nd":
            kinds[code] = DIGIT
        elif ord(lower[0]) in marks or lower.isspace():
            kinds[code] = BECOMES_SPACE
        elif len(found) != 1:
            kinds[code], single[code] = BECOMES_SEVERAL, len(several)
            several.append(found + [0] * (MOST - len(found)))
        else:
            single[code] = found[0]
    for separator in SEPARATORS:
        kinds[ord(separator)] |= SEPARATOR
    return Table(kinds, single, np.array(several, dtype=np.uint32))


def simplified(texts: Texts) -> tuple[np.ndarray, np.ndarray]:
    """Texts as they are compared: code points, uint32 [C], and the offsets of each text, int64 [N + 1]."""
    if any(SIGMA in text for text in texts.texts):
        texts = Texts([text.lower() if SIGMA in text else text for text in texts.texts])
    codes, offsets = texts.codes, texts.offsets
    out = np.empty(MOST * len(codes), dtype=np.uint32)  # pages that are never written cost nothing
    ends = np.zeros_like(offsets)
    _simplify(codes, offsets, table(), out, ends)
    out.setflags(write=False)  # as `Texts.codes`, so that what takes both is compiled once
    return out[: ends[-1]], ends


def _range(part: str) -> range:
    first, _, last = part.partition("-")
    return range(int(first, 16), int(last or first, 16) + 1)


@compiled
def _number_end(codes, i, stop, kinds):  # type: ignore[no-untyped-def]
    """Where the number that starts at i ends."""
    while i < stop and kinds[codes[i]] & DIGIT:
        i += 1
    if i + 1 < stop and kinds[codes[i]] & SEPARATOR and kinds[codes[i + 1]] & DIGIT:
        i += 1
        while i < stop and kinds[codes[i]] & DIGIT:
            i += 1
    return i


@compiled
def _simplify(codes, offsets, known, out, ends):  # type: ignore[no-untyped-def]
    """Write all texts and where each ends."""
    kinds, single, several = known.kinds, known.single, known.several
    count = 0
    for text in range(len(offsets) - 1):
        i, stop, first = offsets[text], offsets[text + 1], count
        while i < stop:
            kind = kinds[codes[i]]
            if kind & BECOMES_SPACE:
                if count > first and out[count - 1] != 32:
                    out[count] = 32
                    count += 1
            elif kind & DIGIT:
                i = _number_end(codes, i, stop, kinds)
                out[count] = 48
                count += 1
                continue
            elif kind & BECOMES_SEVERAL:
                for code in several[single[codes[i]]]:
                    out[count] = code
                    count += code != 0
            else:
                out[count] = single[codes[i]]
                count += 1
            i += 1
        if count > first and out[count - 1] == 32:
            count -= 1
        ends[text + 1] = count
