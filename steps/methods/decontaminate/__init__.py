"""Which documents contain an item that the model will be judged by.

The work has three verbs, because what is common in a task is known only when all of it was seen: `grams_of` the items,
`hits` of each batch anywhere and in any order, `verdicts` over a whole task.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from steps.core.documents import Item
from steps.core.method import Method
from steps.core.texts import Texts


@dataclass(frozen=True, slots=True)
class Grams:
    """The n-grams of all items, in arrays that can travel."""

    items: tuple[str, ...]  # identifiers, in the order of their rows
    arrays: Mapping[str, np.ndarray]  # the method's own


@dataclass(frozen=True, slots=True)
class Hits:
    """Which grams the texts of a batch hold: parallel arrays, int64 [M], each pair once."""

    rows: np.ndarray  # the text's row in its batch
    grams: np.ndarray  # the gram's row


class Decontaminate(Method, ABC):
    """The slot: finds the hold-out items that documents contain."""

    @abstractmethod
    def grams_of(self, items: Iterable[Item]) -> Grams:
        """The n-grams of the items that are looked for."""

    @abstractmethod
    def hits(self, texts: Texts, grams: Grams) -> Hits:
        """The grams that each text holds."""

    @abstractmethod
    def verdicts(self, batches: Sequence[Hits], sizes: Sequence[int], grams: Grams) -> dict[int, str]:
        """Row in the task -> the item that the document contains; `sizes` are the texts of each batch, in order."""
