"""A part of each source, read several times."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from steps.core.method import Cite
from steps.core.streams import interleave
from steps.methods.order import Order
from steps.methods.order._shared import first_of, shuffled


class SubsetEpochs(Order):
    """Several epochs over a subset in the place of one epoch over all that the budget could buy.

    Rule:       the first documents of a random order that hold 1/E of what the source is asked for, E times, shuffled
                anew each time; sources in turn
    Reduces to: `interleaved` at num_epochs = 1 (exact)
    Differs:    the subset is drawn at random; the recipe's best sub-corpus is the slot `select`'s (`quality-top`). A
                source that has less than 1/E of what it is asked for is read more often than E times
    """

    cite: ClassVar[Cite] = Cite(
        title="Efficient Continual Pre-training by Mitigating the Stability Gap",
        id="arXiv:2406.14833",
        where="abstract: a subset with a proper size for multiple epochs; 5B x 4 as recalled",
        checked="secondary",
    )

    num_epochs: int = Field(4, ge=1, description="times that the subset is read")

    def documents(self, lengths_N: np.ndarray, num_tokens: int, epoch: int, seed: int) -> np.ndarray:
        """The subset, shuffled."""
        subset = first_of(shuffled(len(lengths_N), 0, seed), lengths_N, -(-num_tokens // self.num_epochs))
        return subset if epoch == 0 else np.sort(subset)[shuffled(len(subset), epoch, seed)]

    def sources(self, counts: Mapping[str, int], groups: Sequence[int], seed: int) -> list[str]:
        """In turn, by largest remainder."""
        return interleave(counts, groups)
