"""Give every task, or every refresh, the same room."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from steps.core.method import Cite
from steps.methods.replay import Entry, Evidence, Memory, Replay
from steps.methods.replay._shared import apportioned, grouped, in_order, lot, lowest

EVERYTHING = 2**48  # above every lot


class Balanced(Replay):
    """Equal room for every task, or for every refresh in which documents came; a uniform sample within each.

    Rule:       C places are spread equally over G groups, C/G each; what a group cannot fill flows to the others. A
                group holds those of its documents that have the lowest lots; a lot is a hash of seed and key. By age, a
                remainder goes to the newest refreshes; by task, to the first by name.
    Differs:    a document passed over once does not come back, so a group that lost documents (stale ones) or gained
                room takes newcomers only below the highest lot that it held when it was last cut: every current
                document of the group stays equally likely (to 1 part in n + 1, n its documents then), and the group
                may be short for a while. Raise `capacity` early: new room fills at the pace of such newcomers.
    Reduces to: a uniform sample of all documents when there is one group (exact); everything when C >= n (exact)
    """

    cite: ClassVar[Cite] = Cite(title="Balanced replay", id="ours", where="this file", checked="code")

    capacity: int = Field(gt=0, description="documents that the buffer holds at most")
    by: Literal["task", "age"] = Field("task", description="task: equal room for every task; age: for every refresh")

    def update(
        self, memory: Memory, stale: Sequence[str], offered: Sequence[Entry], evidence: Evidence, seed: int
    ) -> Memory:
        """The next memory; its counters: the seed of the lots, and the limit of every task that was cut."""
        seed = memory.counts.get("seed", seed)
        leaving = set(stale)
        limits = {name: count for name, count in memory.counts.items() if name != "seed"}
        held = [entry for entry in memory.entries if entry.key not in leaving]
        below = [entry for entry in offered if lot(seed, entry.key) < limits.get(self._group(entry), EVERYTHING)]
        everyone = [*held, *below]
        groups = grouped(everyone, {entry.key: self._group(entry) for entry in everyone})
        first = sorted(groups, key=lambda name: -groups[name][0].refresh if self.by == "age" else name)
        rooms = apportioned(self.capacity, dict.fromkeys(first, 1.0), {name: len(own) for name, own in groups.items()})
        chosen: list[Entry] = []
        for name, own in groups.items():
            kept = lowest(own, rooms[name], seed)
            if 0 < len(kept) < len(own) and self.by == "task":  # nothing comes to a refresh that is past
                limits[name] = lot(seed, kept[-1].key)
            chosen += [entry._replace(why=name) for entry in kept]
        return Memory(in_order(everyone, chosen), {"seed": seed, **limits})

    def _group(self, entry: Entry) -> str:
        return f"task {entry.task}" if self.by == "task" else f"refresh {entry.refresh}"
