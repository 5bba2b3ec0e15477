"""Whether a model knows what is new: trained wordings against rewordings, new answers against old ones."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field

from steps.core.artifacts import Frozen
from steps.core.examinee import BATCH_PROMPTS, Examinee
from steps.core.method import Cite
from steps.methods.suite import Answered, Question
from steps.methods.suite._shared import Filed, Spoken, answered, distinct, read_rows

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = re.compile(r"[^\w\s]")


class Fact(Frozen):
    """One line of the file."""

    id: str = Field(min_length=1)
    trained: str = Field(min_length=1, description="the question, or the beginning of the statement, as it was trained")
    new: str = Field(min_length=1, description="the answer that the model should know now")
    old: str = Field("", description="the answer that it knew before; empty: the fact is new")
    reworded: tuple[str, ...] = Field((), description="the same in other words, none of them trained")


class Wording(NamedTuple):
    """One way to ask for a fact."""

    fact: Fact
    text: str


class Facts(Filed, Spoken):
    """Facts that are new or were updated, by likelihood and by generation, in trained wordings and in others.

    Rule:       likelihood: 1 if the new answer has fewer nats per byte than the old one after the same wording, 1/2 if
                as many, else 0 (only facts with an old answer); generation: 1 if the greedy answer says the new one
    Shapes:     a fact with R rewordings -> 1 row of `<kind>/trained/…` and R of `<kind>/reworded/…`, each by likelihood
                and by generation; kind: `new`, or `updated` where there is an old answer; a fact is one document
    Units:      nats per UTF-8 byte of the answer
    Differs:    the paper asks by generation alone, and has its answers judged by a model; here the new answer must
                occur in what was said, case, punctuation and articles aside
    Reduces to: none
    """

    cite: ClassVar[Cite] = Cite(
        title="FineTuneBench: How well do commercial fine-tuning APIs infuse knowledge into LLMs?",
        id="arXiv:2411.05059",
        where="sec. 3: new and updated knowledge; trained questions and rephrased ones",
        checked="recalled",
    )

    answer_tokens: int = Field(24, ge=1, description="longest answer, in tokens; what would follow is not read")
    wording: Literal["auto", "chat", "plain"] = Field(
        "auto", description="how wordings are put; auto: as a chat where the model has a template, else as plain text"
    )

    def questions(self, root: Path, examinee: Examinee) -> list[Question]:
        """Every wording of every fact, by likelihood and by generation."""
        found = []
        for fact in read_rows(root, self, Fact):
            ways = [("trained", fact.id, fact.trained)]
            ways += [("reworded", f"{fact.id}/{number}", text) for number, text in enumerate(fact.reworded, 1)]
            for part, name, text in ways:
                hows = ("likelihood", "generation") if fact.old else ("generation",)
                kind = "updated" if fact.old else "new"
                found += [
                    Question(f"{self.title}/{kind}/{part}/{how}", name, fact.id, Wording(fact, text)) for how in hows
                ]
        return self.drawn(distinct(found, f"suite {self.title}: {self.file}"))

    def ask(self, examinee: Examinee, questions: Sequence[Question]) -> Iterator[list[Answered]]:
        """First by likelihood, two answers to a question, then by generation."""
        by_likelihood = [question for question in questions if question.suite.endswith("/likelihood")]
        for start in range(0, len(by_likelihood), BATCH_PROMPTS // 2):
            yield self._weighed(examinee, by_likelihood[start : start + BATCH_PROMPTS // 2])
        yield from super().ask(examinee, [question for question in questions if question.suite.endswith("/generation")])

    def tokens(self, examinee: Examinee, question: Question) -> list[int]:
        """The wording as a user's turn, or as plain text."""
        return examinee.prompt(question.asked.text.rstrip(), chat=self._is_chat(examinee))

    def judged(self, question: Question, answer: str) -> tuple[float, str]:
        """1 where the new answer was said."""
        fact: Fact = question.asked.fact
        said = [kind for kind, text in (("new", fact.new), ("old", fact.old)) if text and says(answer, text)]
        return float("new" in said), f"{fact.new}; said: {' and '.join(said) or 'neither'}"

    def _is_chat(self, examinee: Examinee) -> bool:
        if self.wording == "chat" and not examinee.is_chat:
            raise ValueError(
                f"suite {self.title}: wording: chat wants a chat template, the model has none; set it to auto"
            )
        return examinee.is_chat if self.wording == "auto" else self.wording == "chat"

    def _weighed(self, examinee: Examinee, questions: Sequence[Question]) -> list[Answered]:
        space = "" if self._is_chat(examinee) else " "
        pairs = [
            (self.tokens(examinee, question), f"{space}{answer.strip()}")
            for question in questions
            for answer in (question.asked.fact.new, question.asked.fact.old)
        ]
        nats = examinee.losses(pairs)
        rows = []
        for place, question in enumerate(questions):
            new, old = (
                loss / len(answer.encode())
                for loss, (_, answer) in zip(nats[2 * place :], pairs[2 * place : 2 * place + 2], strict=False)
            )
            score = 0.5 if new == old else float(new < old)
            told = f"new {new:.3f}, old {old:.3f} nats per byte"
            rows.append(answered(question, self.metric, score, told, question.asked.fact.new))
        return rows


def says(answer: str, wanted: str) -> bool:
    """Whether an answer contains another, as whole words; case, punctuation and articles do not count."""
    said, looked_for = (
        " ".join(ARTICLES.sub(" ", PUNCTUATION.sub(" ", text.casefold())).split()) for text in (answer, wanted)
    )
    return bool(looked_for) and f" {looked_for} " in f" {said} "
