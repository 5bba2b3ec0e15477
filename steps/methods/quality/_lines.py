"""Lines of many texts, counted in bounded memory: compiled, for `repeated-lines`."""

import numba
import numpy as np

from steps.core.ngrams import BASIS, FACTOR, Bytes, mixed

CELLS_LOG2, TEXTS_LOG2 = 24, 27  # 2 x 2^24 counts of two bytes and 2^27 bits: 80 MiB, however large the task
MOST = 65_535  # a cell counts no further


class LineCounts:
    """In how many distinct texts a line stands: roughly (a count-min sketch), then exactly for those above a limit."""

    def __init__(self, min_characters: int) -> None:
        self.num_texts = 0  # distinct ones
        self._min_characters = min_characters
        self._cells = np.zeros((2, 1 << CELLS_LOG2), dtype=np.uint16)
        self._seen = np.zeros(1 << (TEXTS_LOG2 - 3), dtype=np.uint8)
        self._keys = np.empty(0, dtype=np.uint64)
        self._counts = np.empty(0, dtype=np.int64)

    def sketch(self, texts: Bytes) -> None:
        """Count the lines of some texts roughly, never too low; a text that came before is left out."""
        lines, ends = line_hashes(texts, self._min_characters)
        self.num_texts += _pass(lines, ends, texts.data, texts.offsets, self._seen, self._cells, -1)[0]

    def again(self) -> None:
        """Start over with the same texts, for `count`."""
        self._seen[:] = 0

    def count(self, texts: Bytes, limit: int) -> None:
        """Count exactly the lines that may stand in more than `limit` texts."""
        lines, ends = line_hashes(texts, self._min_characters)
        _, found = _pass(lines, ends, texts.data, texts.offsets, self._seen, self._cells, min(limit, MOST - 1))
        every = np.concatenate([self._keys, found])
        self._keys, where = np.unique(every, return_inverse=True)
        ones = np.ones(len(found), dtype=np.int64)
        self._counts = np.bincount(where, np.concatenate([self._counts, ones]), len(self._keys)).astype(np.int64)

    def above(self, limit: int) -> np.ndarray:
        """The hashes of the lines that stand in more than `limit` texts, sorted."""
        return np.asarray(self._keys[self._counts > limit])


def line_hashes(texts: Bytes, min_characters: int) -> tuple[np.ndarray, np.ndarray]:
    """A hash of every line, 0 for a short one, and where those of each text end, from 0 on.

    A line stands between line feeds; white space around it is not part of it.
    """
    lines, ends = _line_hashes(texts.data, texts.offsets, min_characters)
    return lines, ends


def are_in(lines: np.ndarray, repeated: np.ndarray) -> np.ndarray:
    """Which lines are in a sorted array of hashes."""
    if not len(repeated):
        return np.zeros(len(lines), dtype=bool)
    return np.asarray(repeated[np.minimum(np.searchsorted(repeated, lines), len(repeated) - 1)] == lines)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _line_hashes(data: np.ndarray, offsets: np.ndarray, min_characters: int) -> tuple[np.ndarray, np.ndarray]:
    ends = np.zeros(len(offsets), dtype=np.int64)
    for row in range(len(offsets) - 1):
        count = 1
        for at in range(offsets[row], offsets[row + 1]):
            count += data[at] == 10
        ends[row + 1] = ends[row] + count
    hashes = np.zeros(ends[-1], dtype=np.uint64)
    for row in range(len(offsets) - 1):
        begin, stop, line = offsets[row], offsets[row + 1], ends[row]
        while begin <= stop:
            end = begin
            while end < stop and data[end] != 10:
                end += 1
            first, last = begin, end
            while first < last and data[first] <= 32:
                first += 1
            while last > first and data[last - 1] <= 32:
                last -= 1
            value, characters = BASIS, 0
            for at in range(first, last):
                characters += data[at] & 0xC0 != 0x80
                value = (value ^ np.uint64(data[at])) * FACTOR
            if characters >= min_characters:
                hashes[line] = mixed(value) | np.uint64(1)
            line += 1
            begin = end + 1
    return hashes, ends


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _is_new(data: np.ndarray, begin: int, end: int, seen: np.ndarray) -> bool:
    value = BASIS
    for at in range(begin, end):
        value = (value ^ np.uint64(data[at])) * FACTOR
    bit = mixed(value) >> np.uint64(64 - TEXTS_LOG2)
    place, mask = bit >> np.uint64(3), np.uint8(1) << np.uint8(bit & np.uint64(7))
    if seen[place] & mask:
        return False
    seen[place] |= mask
    return True


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _cells(line: np.uint64) -> tuple[np.int64, np.int64]:
    shift, mask = np.uint64(64 - CELLS_LOG2), np.uint64((1 << CELLS_LOG2) - 1)
    return np.int64(line >> shift), np.int64((line >> np.uint64(8)) & mask)


@numba.njit(cache=True, nogil=True)
def _pass(lines, ends, data, offsets, seen, cells, limit):  # type: ignore[no-untyped-def]
    """Count the lines of new texts in the cells, or, from limit 0 on, collect those whose cells are above it."""
    found = np.empty(len(lines) if limit >= 0 else 0, dtype=np.uint64)
    distinct = count = 0
    for row in range(len(offsets) - 1):
        if not _is_new(data, offsets[row], offsets[row + 1], seen):
            continue
        distinct += 1
        before = np.uint64(0)
        for line in np.sort(lines[ends[row] : ends[row + 1]]):
            if line == before:
                continue
            before = line
            first, second = _cells(line)
            if limit < 0:
                cells[0, first] += cells[0, first] < MOST
                cells[1, second] += cells[1, second] < MOST
            elif cells[0, first] > limit and cells[1, second] > limit:
                found[count] = line
                count += 1
    return distinct, found[:count].copy()
