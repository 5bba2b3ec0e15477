"""Whether a chat model still does what it is told."""

from pathlib import Path
from typing import Any, ClassVar, Self

import orjson
from pydantic import Field, model_validator

from steps.core.artifacts import Frozen
from steps.core.examinee import Examinee
from steps.core.method import Cite
from steps.core.shards import digest_of
from steps.methods.suite import Question
from steps.methods.suite._checks import CHECKS, held_by, share_held
from steps.methods.suite._prompts import PROMPTS
from steps.methods.suite._shared import Filed, Spoken, distinct, read_rows


class Instruction(Frozen):
    """One line of a file: a prompt, and what must hold of its answer."""

    prompt: str = Field(min_length=1)
    checks: dict[str, Any] = Field(min_length=1)
    system: str = ""
    id: str = ""

    @model_validator(mode="after")
    def _known(self) -> Self:
        for name, wanted in self.checks.items():
            if name not in CHECKS:
                raise ValueError(f"no check {name!r}; there are: {', '.join(sorted(CHECKS))}")
            try:
                CHECKS[name]("Some words.", wanted)
            except Exception as error:
                raise ValueError(f"check {name}: cannot ask for {wanted!r}: {error}") from error
        return self


def ours() -> list[Instruction]:
    """The prompts of this package."""
    parts = PROMPTS.strip().splitlines()
    return [
        Instruction(id=name, prompt=prompt, checks=orjson.loads(checks))
        for name, prompt, checks in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    ]


class Instructions(Filed, Spoken):
    """Instructions whose fulfilment a program can see (word counts, case, keywords, JSON, bullets); chat models only.

    Rule:       score = share of a prompt's checks that its greedy answer passes; 0 for an answer without a word
    Shapes:     one prompt -> one row; our own prompts, or one line of `file` each
    Differs:    prompts and checks are ours, fewer and with short answers; IFEval has 541 prompts and 25 kinds of
                instruction, and tells prompt and instruction level, strict and loose (here: strict, instruction level)
    Reduces to: none
    """

    cite: ClassVar[Cite] = Cite(
        title="Instruction-Following Evaluation for Large Language Models",
        id="arXiv:2311.07911",
        where="sec. 2: verifiable instructions",
        checked="recalled",
    )

    file: str = Field("", description="JSON lines in the workspace with prompts of one's own; empty: ours")
    answer_tokens: int = Field(40, ge=1, description="longest answer, in tokens; what would follow is not read")

    def pinned(self, root: Path) -> Self:
        """The same suite, with the digest of its file, if it has one."""
        return super().pinned(root) if self.file else self

    def questions(self, root: Path, examinee: Examinee) -> list[Question]:
        """One for each prompt; none for a model that has no chat template."""
        if not examinee.is_chat:
            return []
        rows = read_rows(root, self, Instruction) if self.file else ours()
        names = [row.id or digest_of(row.model_dump(mode="json"))[:16] for row in rows]
        found = [Question(self.title, name, name, row) for name, row in zip(names, rows, strict=True)]
        return self.drawn(distinct(found, f"suite {self.title}: {self.file}"))

    def tokens(self, examinee: Examinee, question: Question) -> list[int]:
        """The prompt as a user's turn."""
        return examinee.prompt(question.asked.prompt, chat=True, system=question.asked.system)

    def judged(self, question: Question, answer: str) -> tuple[float, str]:
        """The share of checks that hold."""
        checks = question.asked.checks
        return share_held(answer, checks), held_by(answer, checks)
