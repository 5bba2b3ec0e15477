"""A batch of texts, with what several rules need of them, each worked out once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from steps.core.tokens import code_points, read_only, tokenise
from steps.core.words import Words


@dataclass(frozen=True)
class Texts:
    """Texts in a fixed order. What is derived from them (code points, words) is made at first use and kept."""

    texts: Sequence[str]
    _source: "tuple[Texts, np.ndarray] | None" = field(default=None, repr=False, compare=False)  # and rows: `take`

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def _points(self) -> tuple[np.ndarray, np.ndarray]:
        if self._source is None or "_points" not in self._source[0].__dict__:
            return code_points(self.texts)
        source, rows = self._source
        offsets = _offsets(source.offsets, rows)
        return read_only(_taken(source.codes, source.offsets, rows)), offsets

    @property
    def codes(self) -> np.ndarray:
        """The code points of all texts, one after the other, uint32 [C]."""
        return self._points[0]

    @property
    def offsets(self) -> np.ndarray:
        """Where each text begins in `codes`, and the end of the last, int64 [N + 1]."""
        return self._points[1]

    @cached_property
    def words(self) -> Words:
        """The words of each text, as spaCy cuts English."""
        if self._source is None or "words" not in self._source[0].__dict__:
            return tokenise(self.codes, self.offsets)
        source, rows = self._source
        texts = _offsets(source.words.texts, rows)
        begin, end, flags, hashes = (_taken(column, source.words.texts, rows) for column in source.words[1:])
        shift = np.repeat(self.offsets[:-1] - source.offsets[rows], np.diff(texts))
        return Words(texts, begin + shift, end + shift, flags, hashes)

    def take(self, rows: Sequence[int]) -> "Texts":
        """Some of the texts, in the order of `rows`; what was derived is taken along, when it is asked for."""
        return Texts([self.texts[row] for row in rows], (self, np.asarray(rows, dtype=np.int64)))


def _offsets(offsets: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Where the ranges of some rows begin when they are put one after the other, and where the last ends."""
    return np.concatenate([[0], np.cumsum(offsets[rows + 1] - offsets[rows])])


def _taken(values: np.ndarray, offsets: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The values of some rows, one after the other; those of neighbours are copied at once."""
    first = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
    last = np.flatnonzero(np.diff(rows, append=-2) != 1)
    spans = zip(offsets[rows[first]].tolist(), offsets[rows[last] + 1].tolist(), strict=True)
    return np.concatenate([values[:0], *(values[begin:end] for begin, end in spans)])
