"""Keep a uniform sample of every document that is current."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from steps.core.method import Cite
from steps.methods.replay import Entry, Evidence, Memory, Replay

WHY = "a uniform draw from all that is current"


class Reservoir(Replay):
    """Reservoir sampling (Vitter's algorithm R): each of n documents seen is held with probability C/n.

    Rule:       the n-th document draws a place from 0..n-1, both ends included; below C it takes that place, and who
                was there leaves. C is the capacity in documents; while fewer than C were seen, all are held.
    Differs:    documents can also leave, stale. Each departure is made good by a later arrival (random pairing, after
                Gemulla, Lehner and Haas, VLDB 2006): with g departures from the buffer and h from outside it not yet
                made good, an arrival takes a free place with probability g/(g+h). So n counts current documents, and
                the sample stays uniform over them. If the capacity grows, the new places go to the next arrivals.
    Reduces to: algorithm R when nothing is stale (exact); everything seen when C >= n (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="Random Sampling with a Reservoir", id="doi:10.1145/3147.3165", where="algorithm R", checked="recalled"
    )

    capacity: int = Field(gt=0, description="documents that the buffer holds at most")

    def update(
        self, memory: Memory, stale: Sequence[str], offered: Sequence[Entry], evidence: Evidence, seed: int
    ) -> Memory:
        """The next memory; its counters: seen (ever offered), current (seen and not stale), and the departures g and h.

        `stale` keys that are not held are taken for current documents that the sample left out.
        """
        seen = memory.counts.get("seen", 0)
        current = max(memory.counts.get("current", 0), len(memory.entries))
        gone_held = memory.counts.get("gone_held", 0)
        gone_unheld = memory.counts.get("gone_unheld", 0)
        rng = np.random.default_rng([seed, seen])
        leaving = set(stale)
        places = [entry for entry in memory.entries if entry.key not in leaving]
        from_held = len(memory.entries) - len(places)
        from_outside = min(len(leaving) - from_held, current - len(memory.entries))
        current -= from_held + from_outside
        gone_held, gone_unheld = gone_held + from_held, gone_unheld + from_outside
        if len(places) > self.capacity:  # it was lowered: a uniform part of a uniform sample is one
            stay = rng.choice(len(places), size=self.capacity, replace=False)
            places = [places[place] for place in sorted(stay.tolist())]
        gone_held = min(gone_held, self.capacity - len(places))
        for entry in offered:
            seen, current = seen + 1, current + 1
            if gone_held + gone_unheld:
                held = int(rng.integers(gone_held + gone_unheld)) < gone_held
                gone_held, gone_unheld = gone_held - held, gone_unheld - (not held)
                if held:
                    places.append(entry)
            elif len(places) < self.capacity:
                places.append(entry)
            elif (place := int(rng.integers(current))) < self.capacity:  # 0..n-1: n outcomes, not n + 1
                places[place] = entry
        counts = {"seen": seen, "current": current, "gone_held": gone_held, "gone_unheld": gone_unheld}
        return Memory(tuple(entry._replace(why=WHY) for entry in places), counts)
