"""Which documents are fit to train on, by what they are.

A method has two verbs. `learn` runs once for each task and refresh, and may write into the folder it is given what
`judge` needs, as files without pickle; most rules learn nothing. `judge` sees one batch at a time and that folder, and
nothing else, so that batches can be judged anywhere, in any order. Rules apply in the order of the recipe, each to the
documents that those before left, as they left them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from steps.core.method import Method
from steps.core.texts import Texts


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a rule says of one document."""

    reason: str = ""  # its code, when the document is to be dropped; empty: it is fit
    found: float | None = None  # what was measured: of the condition that failed, or else of the first
    limit: float | None = None  # what it was held against
    span: tuple[int, int] | None = None  # characters [begin, end) of the offending part, where there is one
    text: str | None = None  # the text as the rule leaves it, when the rule edits; none: unchanged


FIT = Judgement()


@dataclass(frozen=True, slots=True)
class Around:
    """What a rule may learn from."""

    folder: Path  # its own, empty: what it writes there is what `judge` is given
    trusted: Callable[[Sequence[str]], Iterator[str]]  # texts of the tasks named, of none named: the replay buffer's
    sample: Callable[[], Iterator[str]]  # texts of the task that will be judged, in their order
    model: Path  # the parent model's folder
    seed: int
    device: str


class Quality(Method, ABC):
    """The slot: one rule over the texts of a batch."""

    def learn(self, around: Around) -> Mapping[str, float]:
        """Learn what `judge` needs; returns figures for the report, such as a cross-validated quality.

        Raises:
            ValueError: there is too little text to learn from.
        """
        return {}

    @abstractmethod
    def judge(self, texts: Texts, folder: Path) -> list[Judgement]:
        """One judgement for each text, in their order; the same text gives the same judgement in any batch."""
