"""In which order the documents of a source are read, and from which source each block comes.

A method has two verbs, `documents` and `sources`. How much each source gives is the plan's; the order changes nothing
of it. Whatever the order, every optimiser step has its share of replay: replay is interleaved within every step.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from steps.core.method import Method


class Order(Method, ABC):
    """The slot: which document comes next, which source comes next."""

    @abstractmethod
    def documents(self, lengths_N: np.ndarray, num_tokens: int, epoch: int, seed: int) -> np.ndarray:
        """The documents of one epoch of a source, in order, as places 0..N-1, int64; at least one.

        `lengths_N`: tokens of each document, int64; `num_tokens`: what all epochs of this source together are to give,
        in the same tokens. Epochs count from 0 and are asked for until the source has given its share; the last may be
        broken off. The same arguments give the same order.
        """

    @abstractmethod
    def sources(self, counts: Mapping[str, int], groups: Sequence[int], seed: int) -> list[str]:
        """The source of every block: each source as often as `counts` says.

        `groups`: the blocks of each optimiser step, in order; they sum to all blocks. A source is `new/<task>` or
        `replay/<task>`.
        """
