"""A batch of texts, with what several rules need of them, each worked out once."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Texts:
    """Texts in a fixed order. What is derived from them (code points, words) is made at first use and kept."""

    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int]) -> "Texts":
        """Some of the texts, in the order of `rows`; what was derived is taken along."""
        return Texts([self.texts[row] for row in rows])
