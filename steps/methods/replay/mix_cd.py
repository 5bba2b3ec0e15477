"""Give room to kinds of documents that the model knew and this refresh damaged."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from steps.core.method import Cite
from steps.methods.replay import Entry, Evidence, Memory, Replay
from steps.methods.replay._shared import apportioned, grouped, in_order, lot, lowest

QUARTILES = ("q1", "q2", "q3", "q4")  # of the parent's loss within a task, the best first
RIGHT = {"q1", "q2"}  # what the parent got right: the best half


class MixCd(Replay):
    """Draw from bins of documents in proportion to their rate of collateral damage.

    Rule:       bins = task x quartile of the parent's loss, given to a document once, when a probe first reads it, and
                kept: old documents (held, or general) and new ones of a task are ranked apart, for the parent trained
                on the former. An old document is damaged if the parent got it right, its loss now in the best half of
                its task's, and it rose by more than `rise_nats`. rate_b = damaged / probed, of the old ones in bin b.
                Of C places bin b gets the share (1 - u) * rate_b / sum rate + u / B, with B bins, u = `uniform_share`;
                what it cannot fill flows to the others. Within a bin the lowest lots are held, a hash of seed and key.
                So a new document competes for the room of the old ones like it.
    Unknown:    a bin without an old probed document has the mean rate of its quartile over the tasks; documents that
                were not probed are a bin per task, with the mean rate of its four quartiles.
    Units:      losses in nats per token of a document's first tokens; C in documents; rates 0..1
    Differs:    the source draws while it trains, from all data, and takes rates from the losses of samples replayed so
                far, without extra inference; here the next buffer is drawn once a refresh, and at most
                `probe_documents` are read by both models. "Right" is the source's correct answer; a language model has
                none. Uniform share, quartiles and threshold are ours (recalled; its code could not be had).
    Reduces to: equal room for every bin when nothing was damaged, or at uniform_share 1 (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="An Efficient Rehearsal Scheme for Catastrophic Forgetting Mitigation during Multi-stage Fine-tuning",
        id="arXiv:2402.08096",
        where="abstract; rates by bins of the prior loss as summaries of it tell",
        checked="secondary",
    )

    capacity: int = Field(gt=0, description="documents that the buffer holds at most")
    probe_documents: int = Field(512, gt=0, description="documents that both models read at most")
    rise_nats: float = Field(0.1, ge=0, description="rise of a document's loss above which it is damaged, nats/token")
    uniform_share: float = Field(0.05, ge=0, le=1, description="share of the places spread equally over the bins")

    def update(
        self, memory: Memory, stale: Sequence[str], offered: Sequence[Entry], evidence: Evidence, seed: int
    ) -> Memory:
        """The next memory; its counters: the seed of the lots, and how many updates there were.

        Told, by bin: documents, old ones probed, damaged, rate, share of the places, places.
        """
        counts = {"seed": memory.counts.get("seed", seed), "updates": memory.counts.get("updates", 0) + 1}
        leaving = set(stale)
        held = [entry for entry in memory.entries if entry.key not in leaving]
        everyone = [*held, *offered]
        if not everyone:
            return Memory((), counts)
        old = [*held, *(entry for entry in offered if entry.general)]
        new = [entry for entry in offered if not entry.general]
        old, new = self._probed(old, new, lot(counts["seed"], f"probe {counts['updates']}"))
        before_N, after_N = evidence.losses([entry.key for entry in (*old, *new)])
        now = _quartiles(old, before_N[: len(old)])
        first = now | _quartiles(new, before_N[len(old) :])
        bins = {
            entry.key: _kept_bin(entry) or f"{entry.task} {first.get(entry.key, 'not probed')}" for entry in everyone
        }
        rise_N = (after_N - before_N)[: len(old)]
        rose = [old[place].key for place in np.flatnonzero(rise_N > self.rise_nats).tolist()]
        probed = Counter(bins[entry.key] for entry in old)
        damaged = Counter(bins[key] for key in rose if now[key] in RIGHT)
        rates = _rates({entry.task for entry in everyone}, probed, damaged)
        groups = grouped(everyone, bins)
        whole = sum(rates[name] for name in groups)
        even = self.uniform_share if whole else 1.0
        shares = {name: (1 - even) * rates[name] / (whole or 1.0) + even / len(groups) for name in groups}
        rooms = apportioned(self.capacity, shares, {name: len(own) for name, own in groups.items()})
        chosen = [
            entry._replace(why=f"bin {name}")
            for name, own in groups.items()
            for entry in lowest(own, rooms[name], counts["seed"])
        ]
        told = {
            f"bin {name}": {
                "documents": float(len(own)),
                "probed": float(probed[name]),
                "damaged": float(damaged[name]),
                "rate": rates[name],
                "share": shares[name],
                "places": float(rooms[name]),
            }
            for name, own in groups.items()
        }
        return Memory(in_order(everyone, chosen), counts, told)

    def _probed(self, old: list[Entry], new: list[Entry], seed: int) -> tuple[list[Entry], list[Entry]]:
        """At most `probe_documents`, drawn anew in every update; three of four are old ones, if there are so many."""
        num_new = min(len(new), max(self.probe_documents // 4, self.probe_documents - len(old)))
        return lowest(old, self.probe_documents - num_new, seed), lowest(new, num_new, seed)


def _kept_bin(entry: Entry) -> str:
    """The bin that a document has from an earlier probe; empty: none has read it."""
    name = entry.why.removeprefix("bin ")
    return name if name in {f"{entry.task} {quartile}" for quartile in QUARTILES} else ""


def _quartiles(probed: Sequence[Entry], loss_N: np.ndarray) -> dict[str, str]:
    """The quartile of every probed document: of its loss among those of its task."""
    loss = {entry.key: value for entry, value in zip(probed, loss_N.tolist(), strict=True)}
    found: dict[str, str] = {}
    for own in grouped(probed, {entry.key: entry.task for entry in probed}).values():
        ranked = sorted((loss[entry.key], entry.key) for entry in own)
        found |= {key: QUARTILES[4 * rank // len(ranked)] for rank, (_, key) in enumerate(ranked)}
    return found


def _rates(tasks: set[str], probed: Mapping[str, int], damaged: Mapping[str, int]) -> dict[str, float]:
    """The rate of every bin that can be; where nothing was probed, what the others tell."""
    found: dict[str, float] = {}
    for quartile in QUARTILES:
        known = {t: damaged[name] / probed[name] for t in sorted(tasks) if probed[name := f"{t} {quartile}"]}
        usual = sum(known.values()) / len(known) if known else 0.0
        found |= {f"{task} {quartile}": known.get(task, usual) for task in tasks}
    return found | {f"{task} not probed": sum(found[f"{task} {q}"] for q in QUARTILES) / 4 for task in tasks}
