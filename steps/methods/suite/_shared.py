"""What suites share: a file of questions in the workspace, and answers in the model's own words."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import orjson
from pydantic import BaseModel, Field, ValidationError

from steps.core.examinee import BATCH_PROMPTS, Examinee
from steps.core.shards import digest_of_file
from steps.methods.suite import Answered, Question, Suite

RowType = TypeVar("RowType", bound=BaseModel)


class Filed(Suite):
    """A suite whose questions are a file of the workspace."""

    file: str = Field(min_length=1, description="JSON lines in the workspace, e.g. data/suites/canaries.jsonl")
    digest: str | None = Field(None, description="SHA-256 of the file; none: filled in when the run begins")

    def pinned(self, root: Path) -> Self:
        """The same suite, with the digest of its file."""
        path = root / self.file
        if self.digest or not path.is_file():  # what is not there is refused when it is read
            return self
        return self.model_copy(update={"digest": digest_of_file(path)})


def read_rows(root: Path, suite: Filed, kind: type[RowType]) -> list[RowType]:
    """The questions of a file.

    Raises:
        ValueError: it lies outside the workspace, is not there, is another than was pinned, or a line does not fit.
    """
    where = f"suite {suite.title}: {suite.file}"
    path = (root / suite.file).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError(f"{where} leads out of the workspace, to {path}; copy it there")
    if not path.is_file():
        raise ValueError(f"{where}: no such file; write it, or take the suite out of evaluate.suites")
    if suite.digest and (found := digest_of_file(path)) != suite.digest:
        raise ValueError(f"{where}: wanted digest {suite.digest}, found {found}; correct either")
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows.append(kind.model_validate(orjson.loads(line)))
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            place = ".".join(map(str, fault["loc"])) or "the line"
            raise ValueError(f"{where}: line {number}: {place}: {fault['msg']}; correct the line") from error
        except ValueError as error:
            raise ValueError(f"{where}: line {number}: wanted a JSON object, found {line[:40]!r}") from error
    if not rows:
        raise ValueError(f"{where}: wanted at least one question, found none")
    return rows


def distinct(questions: Sequence[Question], where: str) -> list[Question]:
    """Questions of which no two have the same id.

    Raises:
        ValueError: two have.
    """
    seen: set[tuple[str, str]] = set()
    for question in questions:
        if (question.suite, question.id) in seen:
            raise ValueError(f"{where}: two questions have the id {question.id!r}; give one another")
        seen.add((question.suite, question.id))
    return list(questions)


class Spoken(Suite):
    """A suite whose questions are answered in the model's own words."""

    metric: ClassVar[str] = "accuracy"
    answer_tokens: int = Field(48, ge=1, description="longest answer, in tokens; what would follow is not read")

    @abstractmethod
    def tokens(self, examinee: Examinee, question: Question) -> list[int]:
        """A question as the model reads it."""

    @abstractmethod
    def judged(self, question: Question, answer: str) -> tuple[float, str]:
        """The score of an answer, and what was wanted."""

    def ask(self, examinee: Examinee, questions: Sequence[Question]) -> Iterator[list[Answered]]:
        """Ask questions of like length together, the longest first."""
        prompts: list[tuple[Question, list[int]]] = [(each, self.tokens(examinee, each)) for each in questions]
        prompts.sort(key=lambda pair: (-len(pair[1]), pair[0].suite, pair[0].id))
        for start in range(0, len(prompts), BATCH_PROMPTS):
            batch = prompts[start : start + BATCH_PROMPTS]
            answers = examinee.answers([tokens for _, tokens in batch], self.answer_tokens)
            yield [self._row(question, answer) for (question, _), answer in zip(batch, answers, strict=True)]

    def _row(self, question: Question, answer: str) -> Answered:
        score, wanted = self.judged(question, answer)
        return answered(question, self.metric, score, answer, wanted)


def answered(question: Question, metric: str, score: float, answer: str = "", wanted: Any = "") -> Answered:
    """The row of a question."""
    return Answered(
        suite=question.suite,
        id=question.id,
        document=question.document,
        metric=metric,
        score=score,
        answer=answer,
        wanted=str(wanted),
    )
