"""Texts that share most of their runs of words."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from steps.core.method import Cite
from steps.core.minhash import Banding, band_hashes
from steps.core.texts import Texts
from steps.methods.dedup import Dedup


class Minhash(Dedup):
    """MinHash with banding, as datatrove signs: two texts of Jaccard similarity s meet with 1 - (1 - s^R)^K.

    Rule:       a text is the set of its runs of `shingle_words` words, simplified; K = `bands`, R = `rows`. With 14 x 8
                a pair at s = 0.7 meets with 0.56, at 0.8 with 0.92, at 0.9 with 0.9996.
    Shapes:     N texts -> uint64 [N, K]
    Differs:    none in the signatures with 64-bit xxHash, so candidates are datatrove's at equal knobs; FineWeb's
                recipe hashes with SHA-1, which is not offered. A bucket is 64 bits of a band's R places, not
                those places. A text with fewer words than a run is in no bucket, as there: only `exact` finds it.
    Reduces to: equality of the sets of runs at many rows (s^R -> 0 below s = 1)
    """

    cite: ClassVar[Cite] = Cite(
        title="On the resemblance and containment of documents",
        id="huggingface/datatrove",
        where="0.10.1, pipeline/dedup/minhash.py: signatures; Broder 1997 for the estimate",
        checked="code",
    )

    shingle_words: int = Field(5, ge=1, description="length of the runs that are compared, words")
    bands: int = Field(14, ge=1, description="bands; texts that agree in all places of one meet")
    rows: int = Field(8, ge=1, description="places of a band")
    seed: int = Field(1, ge=0, lt=2**32, description="of the permutations; with another, an index is built anew")

    def sign(self, texts: Texts) -> np.ndarray:
        """The buckets of texts."""
        return band_hashes(texts, Banding(self.shingle_words, self.bands, self.rows, self.seed))
