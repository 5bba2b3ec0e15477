"""A batch of texts, with what several rules need of them, each worked out once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from steps.core.tokens import code_points, tokenise
from steps.core.words import Words


@dataclass(frozen=True)
class Texts:
    """Texts in a fixed order. What is derived from them (code points, words) is made at first use and kept."""

    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def _points(self) -> tuple[np.ndarray, np.ndarray]:
        return code_points(self.texts)

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
        return tokenise(self.codes, self.offsets)

    def take(self, rows: Sequence[int]) -> "Texts":
        """Some of the texts, in the order of `rows`; what was derived is taken along."""
        taken = Texts([self.texts[row] for row in rows])
        if "words" in self.__dict__:
            taken.__dict__["words"] = self._words_of(rows, taken.offsets)
        return taken

    def _words_of(self, rows: Sequence[int], offsets: np.ndarray) -> Words:
        words, places = self.words, np.asarray(rows, dtype=np.int64)
        first, last = words.texts[places], words.texts[places + 1]
        texts = np.concatenate([[0], np.cumsum(last - first)])
        chosen = np.arange(texts[-1]) + np.repeat(first - texts[:-1], last - first)
        shift = np.repeat(offsets[:-1] - self.offsets[places], last - first)
        begin, end = words.begin[chosen] + shift, words.end[chosen] + shift
        return Words(texts, begin, end, words.flags[chosen], words.hashes[chosen])
