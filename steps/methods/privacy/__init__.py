"""Where a text holds personal data and secrets.

A method has one verb, `find`. What was found is never shown: spans and kinds go on, the matches do not.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple

from pydantic import Field

from steps.core.method import Method, load_method


class Found(NamedTuple):
    """One match: its kind (`email`, `iban`, ...) and its characters [begin, end)."""

    kind: str
    begin: int
    end: int


class Privacy(Method, ABC):
    """The slot: finds personal data in the texts of a batch."""

    action: Literal["replace", "drop"] = Field("replace", description="replace each match, or drop the document")

    @abstractmethod
    def find(self, texts: Sequence[str]) -> list[list[Found]]:
        """The matches of each text, in the order of their places, without overlap."""


def mask(text: str, found: Sequence[Found]) -> str:
    """A text with each match replaced by its kind in brackets: `[email]`."""
    parts, end = [], 0
    for match in found:
        parts += [text[end : match.begin], f"[{match.kind}]"]
        end = match.end
    return "".join([*parts, text[end:]])


@cache
def default() -> Privacy:
    """What is masked wherever text is shown, whatever the recipe says."""
    found = load_method("privacy", "patterns")()
    assert isinstance(found, Privacy)
    return found


def masked(text: str) -> str:
    """A text as it may be shown."""
    return mask(text, default().find([text])[0])
