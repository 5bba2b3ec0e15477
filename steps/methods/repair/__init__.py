"""How a text is mended before any rule judges it.

A method has one verb, `repair`. It sees one batch at a time and nothing else, so that batches can be mended anywhere,
in any order. Repairs run in the order of the recipe, each on what the one before left. A repair that reads a file or a
model is first told where the workspace lies, by `located`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from steps.core.documents import Document
from steps.core.method import Method


@dataclass(frozen=True, slots=True)
class Repaired:
    """A text as its repair leaves it."""

    text: str
    reason: str = ""  # why the document is dropped; empty: it stays
    changes: dict[str, int] = field(default_factory=dict)  # what was changed, by kind, in occurrences


class Repair(Method, ABC):
    """The slot: mends the texts of a batch."""

    def pinned(self, root: Path) -> Self:
        """The same repair, with the digest of what it reads in the workspace among its knobs."""
        return self

    def located(self, root: Path, device: str = "cpu") -> Self:
        """The same repair, which knows where the workspace lies and what to compute on; its knobs are unchanged.

        Raises:
            ValueError: what it reads is not there, or lies outside the workspace.
        """
        return self

    @abstractmethod
    def repair(self, documents: Sequence[Document]) -> list[Repaired]:
        """One result for each document, in their order; the same document gives the same result in any batch."""
