"""One compiled look at a text, so that the patterns run only where there is something to find.

It lets through more than the patterns find, never less. Characters beyond Latin-1 are looked at as `?`.
"""

from typing import NamedTuple

import numba
import numpy as np

BESIDE = 40  # characters around close digits that a number, and the word that explains it, may take up
CLOSE_DIGITS, MAX_GAP = 6, 3  # so many digits, no further apart
LONG = 16  # characters of a key without its dots
VALUE = 12  # characters of a value in a setting

DIGIT, GAP, TOKEN, PART, UPPER = 1, 2, 4, 8, 16  # what a character can be part of; a small letter: TOKEN, PART
DIGITS, CAPITALS = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MEMBERS = {
    DIGIT: DIGITS,
    GAP: " .-/()\xa0?" + CAPITALS,  # `?`: a dash or hyphen beyond Latin-1
    TOKEN: DIGITS + CAPITALS + CAPITALS.lower() + "_-",
    PART: DIGITS + CAPITALS + CAPITALS.lower() + "_+/.~-",
    UPPER: CAPITALS,
}
CLASSES = np.zeros(256, dtype=np.uint8)
for _bit, _characters in MEMBERS.items():
    CLASSES[np.frombuffer(_characters.encode("latin-1"), dtype=np.uint8)] |= np.uint8(_bit)
DOT = ord(".")


class Seen(NamedTuple):
    """What a text may hold."""

    windows: list[tuple[int, int]]  # where digits stand close together, with what is around them; in order, apart
    version_4: bool
    key: bool
    value: bool


@numba.njit(cache=True, nogil=True)
def _windows(text_N, classes, windows_W2):  # type: ignore[no-untyped-def]  # numba infers them
    """Write the windows; returns how many."""
    count, start, last, digits = 0, 0, 0, 0
    for place in range(len(text_N) + 1):
        what = classes[text_N[place]] if place < len(text_N) else np.uint8(0)
        if what & 1:
            if digits == 0:
                start = place
            digits, last = digits + 1, place
        elif digits and (not what & 2 or place - last > MAX_GAP):
            if digits >= CLOSE_DIGITS:
                begin, end = max(0, start - BESIDE), min(len(text_N), last + 1 + BESIDE)
                if count and begin <= windows_W2[count - 1, 1]:
                    windows_W2[count - 1, 1] = end
                else:
                    windows_W2[count, 0], windows_W2[count, 1] = begin, end
                    count += 1
            digits = 0
    return count


@numba.njit(cache=True, nogil=True)
def _runs(text_N, classes):  # type: ignore[no-untyped-def]  # numba infers them
    """Whether there are digits with three dots between them, a long token, and a value."""
    dots, numeric, token, part, digits, part_digits, capitals = 0, 0, 0, 0, 0, 0, 0
    version_4 = key = value = False
    for place in range(len(text_N) + 1):
        byte = text_N[place] if place < len(text_N) else np.uint8(32)
        what = classes[byte]
        if what == 12:  # a small letter: most of a text
            continue
        if what & 1:
            dots = dots if numeric == place else 0
            numeric, digits, part_digits = place + 1, digits + 1, part_digits + 1
            version_4 |= dots >= 3
            continue
        if byte == DOT and numeric == place:
            dots, numeric = dots + 1, place + 1
        capitals += what >> 4
        if not what & 4:
            key |= place - token >= LONG and (digits > 0 or capitals >= LONG // 2)
            token, digits, capitals = place + 1, 0, 0
        if not what & 8:
            value |= place - part >= VALUE and part_digits > 0
            part, part_digits = place + 1, 0
    return version_4, key, value


def look(text: str) -> Seen:
    """What a text may hold."""
    if not text:
        return Seen([], False, False, False)
    text_N = np.frombuffer(text.encode("latin-1", "replace"), dtype=np.uint8)
    windows_W2 = np.empty((len(text) // BESIDE + 2, 2), dtype=np.int64)
    count = _windows(text_N, CLASSES, windows_W2)
    return Seen([(begin, end) for begin, end in windows_W2[:count].tolist()], *map(bool, _runs(text_N, CLASSES)))
