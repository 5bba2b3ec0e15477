"""Which documents say the same.

A method has one verb, `sign`. Documents that share a bucket are candidates, and candidates are duplicates: the step
keeps the first of each cluster, and none that shares a bucket with a document that an accepted refresh kept.
"""

from abc import ABC, abstractmethod

import numpy as np

from steps.core.method import Method
from steps.core.texts import Texts


class Dedup(Method, ABC):
    """The slot: buckets of near-equal documents."""

    @abstractmethod
    def sign(self, texts: Texts) -> np.ndarray:
        """Bucket hashes, uint64 [N, K]: N texts, K bands; 0 is no bucket. Columns are compared each with its own."""
