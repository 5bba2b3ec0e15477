"""Documents shuffled in every epoch, sources taken in turn."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from steps.core.method import Cite
from steps.core.streams import interleave
from steps.methods.order import Order
from steps.methods.order._shared import shuffled


class Interleaved(Order):
    """Every optimiser step is as near the shares of the whole as whole blocks allow.

    Rule:       the next block comes from the source furthest behind its share; documents are shuffled anew each epoch
    Reduces to: one shuffled source where there is one (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="Largest remainders within every step", id="ours", where="steps/core/streams.py", checked="code"
    )

    def documents(self, lengths_N: np.ndarray, num_tokens: int, epoch: int, seed: int) -> np.ndarray:
        """All documents, shuffled."""
        return shuffled(len(lengths_N), epoch, seed)

    def sources(self, counts: Mapping[str, int], groups: Sequence[int], seed: int) -> list[str]:
        """In turn, by largest remainder."""
        return interleave(counts, groups)
