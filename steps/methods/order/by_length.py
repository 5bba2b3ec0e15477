"""Short documents before long ones, or the other way round."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from steps.core.method import Cite
from steps.core.streams import interleave
from steps.methods.order import Order
from steps.methods.order._shared import first_of, shuffled


class ByLength(Order):
    """A curriculum by length within each source; twins in length in a random order.

    Rule:       the documents that an epoch needs are drawn at random, then sorted by their tokens; sources in turn
    Units:      lengths in tokens
    Reduces to: `interleaved` where all documents are equally long (exact)
    Differs:    from sorting the whole source: a budget below it would see its shortest documents only
    """

    cite: ClassVar[Cite] = Cite(
        title="Curriculum learning by sequence length", id="ours", where="this file", checked="code"
    )

    direction: Literal["short-first", "long-first"] = Field(
        "short-first", description="short-first: a document's tokens ascend within an epoch; long-first: they descend"
    )

    def documents(self, lengths_N: np.ndarray, num_tokens: int, epoch: int, seed: int) -> np.ndarray:
        """What this epoch still has to give, by length."""
        left = num_tokens - epoch * int(lengths_N.sum())
        drawn = first_of(shuffled(len(lengths_N), epoch, seed), lengths_N, left)
        sign = 1 if self.direction == "short-first" else -1
        return drawn[np.argsort(sign * lengths_N[drawn], kind="stable")]

    def sources(self, counts: Mapping[str, int], groups: Sequence[int], seed: int) -> list[str]:
        """In turn, by largest remainder."""
        return interleave(counts, groups)
