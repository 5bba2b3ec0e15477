"""Prompts of one's own, whose answers a model must not lose."""

import re
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from steps.core.artifacts import Frozen
from steps.core.examinee import Examinee
from steps.core.method import Cite
from steps.core.shards import digest_of
from steps.methods.suite import Question
from steps.methods.suite._shared import Filed, Spoken, distinct, read_rows


class Canary(Frozen):
    """One line of the file."""

    prompt: str = Field(min_length=1)
    wanted: tuple[str, ...] = Field(min_length=1, description="answers; any of them will do")
    match: Literal["contains", "exact", "regex", "lacks"] = "contains"
    case: bool = Field(False, description="whether capitals count")
    system: str = ""
    id: str = ""

    @model_validator(mode="before")
    @classmethod
    def _one_answer(cls, value: dict[str, object]) -> dict[str, object]:
        if isinstance(value, dict) and isinstance(value.get("wanted"), str):
            return {**value, "wanted": [value["wanted"]]}
        return value

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.match != "regex" and not all(one.strip() for one in self.wanted):
            raise ValueError("an empty answer would match anything; write one, or match: regex")
        for pattern in self.wanted if self.match == "regex" else ():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return self

    def holds(self, answer: str) -> bool:
        """Whether an answer is one that is wanted."""
        flags = re.NOFLAG if self.case else re.IGNORECASE
        said, wanted = (answer.strip(), [one.strip() for one in self.wanted])
        if not self.case:
            said, wanted = said.casefold(), [one.casefold() for one in wanted]
        match self.match:
            case "exact":
                return said in wanted
            case "regex":
                return any(re.search(pattern, answer, flags) for pattern in self.wanted)
            case "lacks":
                return bool(said) and not any(one in said for one in wanted)
            case _:
                return any(one in said for one in wanted)


class Canaries(Filed, Spoken):
    """Prompts of one's own with required answers: exact, contained, by pattern, or what must not be said.

    Rule:       score = 1 if the greedy answer matches, else 0. `contains`, `exact`: any of `wanted`; `regex`: one of
                them is found; `lacks`: none of them occurs, and something was said
    Shapes:     one line of `file` -> one row; questions of one id are one document
    Reduces to: none
    """

    cite: ClassVar[Cite] = Cite(title="Canary prompts", id="ours", where="-", checked="paper")

    def questions(self, root: Path, examinee: Examinee) -> list[Question]:
        """One for each line of the file; asked as chat where the model has a chat template."""
        found = []
        for row in read_rows(root, self, Canary):
            name = row.id or digest_of(row.model_dump(mode="json"))[:16]
            found.append(Question(self.title, name, name, row))
        return self.drawn(distinct(found, f"suite {self.title}: {self.file}"))

    def tokens(self, examinee: Examinee, question: Question) -> list[int]:
        """The prompt as a user's turn, or as plain text."""
        return examinee.prompt(question.asked.prompt, chat=examinee.is_chat, system=question.asked.system)

    def judged(self, question: Question, answer: str) -> tuple[float, str]:
        """1 for an answer that is wanted."""
        row: Canary = question.asked
        return float(row.holds(answer)), f"{row.match}: {' | '.join(row.wanted)}"
