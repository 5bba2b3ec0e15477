"""Texts that are equal but for case and white space."""

from typing import ClassVar

import numpy as np

from steps.core.lookup import fingerprints
from steps.core.method import Cite
from steps.core.texts import Texts
from steps.methods.dedup import Dedup


class Exact(Dedup):
    """One bucket: a hash of the text in one case, each run of white space as one space.

    Rule:       texts are duplicates if they are equal after Unicode case folding and joining their words by a space;
                a text without a word is in no bucket
    Shapes:     N texts -> uint64 [N, 1]
    Reduces to: equality of texts, where they differ in nothing but case and white space (exact, but for 2^-64)
    """

    cite: ClassVar[Cite] = Cite(
        title="Equality of texts after normalising case and white space", id="ours", where="here", checked="code"
    )

    def sign(self, texts: Texts) -> np.ndarray:
        """The bucket of each text."""
        plain = [" ".join(text.casefold().split()) for text in texts.texts]
        buckets = fingerprints(plain)[:, :1]
        return np.where(np.array([bool(text) for text in plain], dtype=bool)[:, None], buckets, np.uint64(0))
