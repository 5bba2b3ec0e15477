"""Sets of questions that evaluate asks beside the likelihood of the hold-outs.

A suite has two verbs: `questions` says what it would ask a model, `ask` puts some of these to it, batch by batch.
An answer's score lies in 0..1, higher is better. Questions about one `document` are not independent of each other.
One method may hold several sets; each is scored by itself, under its own name.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import Field

from steps.core.artifacts import Frozen
from steps.core.examinee import Examinee
from steps.core.method import Method, list_from_recipe
from steps.core.shards import digest_of


class Question(NamedTuple):
    """One question of a set; `asked` is the method's own."""

    suite: str
    id: str
    document: str
    asked: Any


class Answered(Frozen):
    """What a model made of one question: a line of `suites.jsonl`."""

    suite: str = Field(description="the set, by which scores are told")
    id: str = Field(description="of the question, unique in its set; the same for every model")
    document: str = Field(description="questions about one are not independent")
    metric: str = Field(description="what the score is, e.g. accuracy")
    score: float = Field(ge=0, le=1, description="higher is better")
    answer: str = Field("", description="what the model said, for a person to read")
    wanted: str = Field("", description="what was asked for, likewise")


class Suite(Method, ABC):
    """The slot: asks a model, and says how good each answer is."""

    name: str = Field(
        "", pattern=r"^([a-z0-9][a-z0-9-]{0,62})?$", description="of its scores; empty: the method's name"
    )
    limit: int | None = Field(None, ge=1, description="questions of each set, drawn by hash of their ids; none: all")
    seed: int = Field(0, ge=0, description="decides which are drawn")

    @property
    def title(self) -> str:
        """What its scores are called, before the name of a set."""
        return self.name or self.method_name()

    def pinned(self, root: Path) -> Self:
        """The same suite, with the digest of what it reads in the workspace among its knobs."""
        return self

    def drawn(self, questions: Sequence[Question]) -> list[Question]:
        """At most `limit` questions of each set, in their order; the same ones for every model, also where others
        join them.
        """
        if self.limit is None:
            return list(questions)
        ranks = sorted(questions, key=lambda question: digest_of([self.seed, question.id]))
        taken: Counter[str] = Counter()
        chosen = set()
        for question in ranks:
            taken[question.suite] += 1
            if taken[question.suite] <= self.limit:
                chosen.add((question.suite, question.id))
        return [question for question in questions if (question.suite, question.id) in chosen]

    @abstractmethod
    def questions(self, root: Path, examinee: Examinee) -> list[Question]:
        """All questions that it has for this model, in a fixed order; none where it does not apply.

        Raises:
            ValueError: a file of the workspace cannot be read as questions.
        """

    @abstractmethod
    def ask(self, examinee: Examinee, questions: Sequence[Question]) -> Iterator[list[Answered]]:
        """Put questions to a model; every batch that comes back is kept, whatever becomes of the next."""


def suites_from_recipe(value: Any) -> tuple[Suite, ...]:
    """The suites of a recipe, in its order.

    Raises:
        ValueError: two are called the same.
    """
    found: tuple[Suite, ...] = list_from_recipe("suite")(value)
    twice = [title for title, count in Counter(suite.title for suite in found).items() if count > 1]
    if twice:
        raise ValueError(f"two suites are called {twice[0]!r}; give one of them another name")
    return found
