"""Which documents stay in the replay buffer when new ones arrive.

A method has one verb, `update`. It sees documents by key, never their texts, so that it cannot depend on where they are
stored. Sizes are counted in documents; losses are nats per token. How much is replayed is none of its business: the
share of replay is a share of **loss tokens**, it belongs to the slot `mixture`, and a larger buffer does not raise it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from steps.core.method import Method


class Entry(NamedTuple):
    """What a method knows of one document, and why it holds it."""

    key: str
    task: str
    num_tokens: int
    refresh: int  # serial number of the refresh in which it came, from 1
    general: bool  # its task is replay-only
    why: str = ""  # the group or draw by which it is held, in the method's words


@dataclass(frozen=True)
class Memory:
    """What a buffer holds, what its method counted, and what it decided by."""

    entries: tuple[Entry, ...] = ()  # each key once
    counts: Mapping[str, int] = field(default_factory=dict)  # the method's own, from one refresh to the next
    told: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # group -> its numbers, for people

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the documents held."""
        return tuple(entry.key for entry in self.entries)


@dataclass(frozen=True)
class Evidence:
    """What the refresh did to the model; nothing is computed before a method asks.

    `rise()`: task -> change of its mean validation loss from parent to candidate, nats per token; a task without
    validation items is absent. `losses(keys)`: of documents held (not stale) or offered, the mean loss under the parent
    and under the candidate, each float64 [N], nats per token of their first tokens.
    """

    rise: Callable[[], Mapping[str, float]]
    losses: Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]


class Replay(Method, ABC):
    """The slot: the next buffer from the last one and what this refresh trained on."""

    @abstractmethod
    def update(
        self, memory: Memory, stale: Sequence[str], offered: Sequence[Entry], evidence: Evidence, seed: int
    ) -> Memory:
        """The next memory.

        First the `stale` keys (withdrawn, or with new content) leave, held or not; then the `offered` documents come,
        in order, each once. A key may be stale and offered: its old text leaves and its new text comes. The result
        holds only documents that were held and are not stale, or offered, with nothing but their `why` changed; the
        same arguments give the same result. `memory.counts` are what this method left last time, or empty.
        """
