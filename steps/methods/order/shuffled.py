"""New text by chance, replay in turn."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from steps.core.method import Cite
from steps.core.streams import interleave
from steps.methods.order import Order
from steps.methods.order._shared import shuffled


class Shuffled(Order):
    """Which new task a block comes from is chance; where replay stands is not.

    Rule:       replayed sources and new text as a whole are interleaved within every step; the places of new text go
                to its tasks in a random order, each as often as it has blocks
    Reduces to: `interleaved` where one task is new (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="Random order of packed sequences, replay kept in every step",
        id="ours",
        where="this file",
        checked="code",
    )

    def documents(self, lengths_N: np.ndarray, num_tokens: int, epoch: int, seed: int) -> np.ndarray:
        """All documents, shuffled."""
        return shuffled(len(lengths_N), epoch, seed)

    def sources(self, counts: Mapping[str, int], groups: Sequence[int], seed: int) -> list[str]:
        """Replay in turn; new tasks by chance."""
        new = [source for source in sorted(counts) if source.startswith("new/")]
        blocks = [source for source in new for _ in range(counts[source])]
        drawn = iter(np.random.default_rng(seed).permutation(len(blocks)).tolist())
        whole = {"new/": len(blocks)} | {source: n for source, n in counts.items() if source not in new}
        return [blocks[next(drawn)] if source == "new/" else source for source in interleave(whole, groups)]
