"""Which documents stay in the replay buffer when new ones arrive.

A method has one verb, `update`. It sees keys, never texts, so that it cannot depend on where they are stored. Sizes are
counted in documents.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from pydantic import Field

from steps.core.artifacts import Frozen
from steps.core.method import Method


class Memory(Frozen):
    """What a buffer holds, and what its method counted."""

    keys: tuple[str, ...] = Field((), description="keys of the documents held, each once")
    counts: dict[str, int] = Field(default_factory=dict, description="the method's own counters, documents")


class Replay(Method, ABC):
    """The slot: the next buffer from the last one and what this refresh trained on."""

    @abstractmethod
    def update(self, memory: Memory, stale: Sequence[str], offered: Sequence[str], seed: int) -> Memory:
        """The next memory.

        First the `stale` keys (withdrawn, or with new content) leave, held or not; then the `offered` keys come, in
        order, each once. A key may be stale and offered: its old text leaves and its new text comes. The result holds
        only keys that were held and are not stale, or offered; the same arguments give the same result.
        """
