"""Give more room to tasks that the refresh made the model forget."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from steps.core.method import Cite
from steps.methods.replay import Entry, Evidence, Memory, Replay
from steps.methods.replay._shared import apportioned, grouped, in_order, lowest


class ForgettingWeighted(Replay):
    """Each task's room grows with the rise of its validation loss in the refresh that fills this buffer.

    Rule:       w_j = max(0, L_j(candidate) - L_j(parent)) + floor; task j gets C * w_j / sum_k w_k places; what it
                cannot fill flows to the others. L_j: mean loss of the validation items of task j; without items its
                rise counts as 0. Within a task the documents with the lowest lots are held, a hash of seed and key.
    Units:      losses and floor in nats per token; C in documents
    Differs:    a task that gains room fills it with its next arrivals: documents passed over before are gone, so until
                some land it keeps what it held while others give way. The sample within a task is uniform while its
                room does not grow, and leans to the new where it does.
    Reduces to: `balanced` by task when no loss ever rose and nothing is stale (exact); equal room as the floor grows
                (close)
    """

    cite: ClassVar[Cite] = Cite(title="Replay weighted by forgetting", id="ours", where="this file", checked="code")

    capacity: int = Field(gt=0, description="documents that the buffer holds at most")
    floor_nats: float = Field(0.1, gt=0, description="added to every task's rise, nats per token")

    def update(
        self, memory: Memory, stale: Sequence[str], offered: Sequence[Entry], evidence: Evidence, seed: int
    ) -> Memory:
        """The next memory; its counter: the seed of the lots. Told: rise, weight (they sum to 1) and places by task."""
        seed = memory.counts.get("seed", seed)
        leaving = set(stale)
        everyone = [*(entry for entry in memory.entries if entry.key not in leaving), *offered]
        if not everyone:
            return Memory((), {"seed": seed})
        tasks = grouped(everyone, {entry.key: entry.task for entry in everyone})
        risen = evidence.rise()
        rise = {task: risen.get(task, 0.0) for task in tasks}
        weights = {task: max(0.0, rise[task]) + self.floor_nats for task in tasks}
        rooms = apportioned(self.capacity, weights, {task: len(own) for task, own in tasks.items()})
        chosen = [
            entry._replace(why=f"task {task}")
            for task, own in tasks.items()
            for entry in lowest(own, rooms[task], seed)
        ]
        whole = sum(weights.values())
        told = {
            f"task {task}": {"rise_nats": rise[task], "weight": weights[task] / whole, "places": float(rooms[task])}
            for task in tasks
        }
        return Memory(in_order(everyone, chosen), {"seed": seed}, told)
