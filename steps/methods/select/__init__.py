"""Which new documents of a task are worth their tokens.

A method has one verb, `choose`. It sees the documents of one task of role `train`, counted in tokens of the parent
model, and what may be looked at to judge them: texts of validation items (looked at, never trained on), general text,
trusted text, and the parent model itself. It answers with the documents that are kept, in their old order; the stage
`select` writes the others down with their score and the reason. Scores of one method are compared within one task and
refresh only.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import Field

from steps.core.artifacts import Frozen
from steps.core.lab import Lab
from steps.core.method import Method
from steps.core.state import CountedDocument


@dataclass(frozen=True, slots=True)
class Pool:
    """What there is to choose from, and what may be looked at to choose. Texts are read when they are asked for."""

    task: str
    documents: Sequence[CountedDocument]
    target: Callable[[], Sequence[str]]  # validation items of the task
    general: Callable[[], Sequence[str]]  # replay-only documents: of this landing, and of the buffer
    trusted: Callable[[], Sequence[str]]  # the buffer's documents of the task; validation items where it has none
    lab: Lab  # the parent model


class Choice(Frozen):
    """What a method chose, and why."""

    kept: tuple[int, ...] = Field(description="places of the documents that are kept, ascending")
    scores: tuple[float, ...] = Field(description="of each document; what it means, the method says")
    reason: str = Field("", description="why those that are not kept were passed over, in a few words")
    told: str = Field(description="a sentence with numbers")


class Select(Method, ABC):
    """The slot: some of a task's new documents."""

    @abstractmethod
    def choose(self, pool: Pool, seed: int) -> Choice:
        """The documents to keep; the same arguments give the same choice.

        Raises:
            ValueError: there is too little text to judge by.
        """
