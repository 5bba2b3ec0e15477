"""Keep one small set of general texts, the same in every refresh."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from steps.core.method import Cite
from steps.methods.replay import Entry, Evidence, Memory, Replay
from steps.methods.replay._shared import in_order, lowest


class General(Replay):
    """A fixed set of general texts: drawn once, then only stale ones leave and are replaced.

    Rule:       of the replay-only documents offered, the `capacity` with the lowest lots are held, and stay; a lot is a
                hash of seed and key. A document that leaves because its text changed is followed by its new text; any
                other place that falls free goes to the lowest lots among the next general documents offered.
    Differs:    the source takes the first 1,000 samples of one file, cut to 563 tokens, before the first task; here
                they are drawn from what lands with the refreshes until the set is full, and are whole documents.
    Reduces to: every general document when capacity is no limit (exact); `none` without replay-only tasks (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="GeRe: Towards Efficient Anti-Forgetting in Continual Learning of LLM via General Samples Replay",
        id="arXiv:2508.04676",
        where="Qznan/GeRe at 34d74f5, gere/gere_dataset.py: num_gere_samples",
        checked="code",
    )

    capacity: int = Field(1000, gt=0, description="documents in the set")  # gere_dataset.py: num_gere_samples

    def update(
        self, memory: Memory, stale: Sequence[str], offered: Sequence[Entry], evidence: Evidence, seed: int
    ) -> Memory:
        """The next memory; its counter: the seed by which the set is drawn."""
        seed = memory.counts.get("seed", seed)
        leaving, were_held = set(stale), set(memory.keys)
        held = [entry for entry in memory.entries if entry.general and entry.key not in leaving]
        came = [entry for entry in offered if entry.general]
        kept = lowest(held, self.capacity, seed)
        kept += lowest((entry for entry in came if entry.key in were_held), self.capacity - len(kept), seed)
        kept += lowest((entry for entry in came if entry.key not in were_held), self.capacity - len(kept), seed)
        entries = in_order([*held, *came], kept)
        return Memory(tuple(entry._replace(why="the fixed set of general texts") for entry in entries), {"seed": seed})
