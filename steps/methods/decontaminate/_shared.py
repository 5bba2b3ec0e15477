"""What both methods do."""

from collections.abc import Sequence

import numpy as np

from steps.methods.decontaminate import Hits


def in_one(batches: Sequence[Hits], sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The hits of a whole task: rows counted through all batches, and grams."""
    none = np.zeros(0, dtype=np.int64)
    firsts = np.cumsum([0, *sizes])
    rows = [batch.rows + first for batch, first in zip(batches, firsts[:-1].tolist(), strict=True)]
    return np.concatenate([none, *rows]), np.concatenate([none, *(batch.grams for batch in batches)])
