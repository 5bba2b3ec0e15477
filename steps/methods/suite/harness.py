"""Tasks of lm-evaluation-harness: files of the workspace, or its own by name."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from pydantic import Field

from steps.core.examinee import BATCH_PROMPTS, Examinee
from steps.core.method import Cite
from steps.core.shards import digest_of, digest_of_files
from steps.methods.suite import Answered, Question, Suite
from steps.methods.suite._lm_eval import ask, build, digestible, inside, said, scored
from steps.methods.suite._respondent import respondent
from steps.methods.suite._shared import answered
from steps.methods.suite._tasks import read_task

FILES = (".yaml", ".yml")


class Place(NamedTuple):
    """Where a question stands."""

    task: Any
    row: int


class Harness(Suite):
    """Tasks of lm-evaluation-harness (multiple choice, cloze, generation, perplexity): local files, or its own by name.

    Rule:       score = the task's metric for one question, where that is a number in 0..1; of a perplexity
                exp(log likelihood / bytes or words), the mean probability of a byte or word
    Shapes:     a task with N questions -> N rows of `<name>/<task>`; a question's own `document`, if it has one, says
                which are not independent
    Differs:    templates are rendered in Jinja's sandbox; of several metrics and filters of a task one counts
    Reduces to: the mean that lm_eval.simple_evaluate gives, with the same shots and template (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="Lessons from the Trenches on Reproducible Evaluation of Language Models",
        id="arXiv:2405.14782",
        where="EleutherAI/lm-evaluation-harness 0.4.13, lm_eval/evaluator.py: evaluate",
        checked="code",
    )

    tasks: tuple[str, ...] = Field(min_length=1, description="task files (.yaml) in the workspace, or names of its own")
    shots: int | None = Field(None, ge=0, description="worked examples before each question; none: as the task says")
    chat: bool = Field(False, description="questions go through the model's chat template")
    metric: str = Field("", description="`metric` or `metric,filter`; empty: the first that lies in 0..1")
    functions: bool = Field(False, description="task files may run Python of the workspace, by `!function`")
    digests: dict[str, str] = Field(
        {}, description="SHA-256 of each task's files; empty: filled in when the run begins"
    )

    @property
    def _where(self) -> str:
        return f"suite {self.title}"

    def pinned(self, root: Path) -> Self:
        """The same suite, with the digest of every task file and what it reads."""
        missing = [name for name in self.tasks if name.endswith(FILES) and name not in self.digests]
        there = [name for name in missing if (root / name).is_file()]  # what is not there is refused when it is read
        return self.model_copy(update={"digests": self.digests | {name: self._digest(root, name) for name in there}})

    def _digest(self, root: Path, name: str) -> str:
        task = read_task(root, name, self._where, functions=self.functions)
        return digest_of_files(inside(root, task.files))

    def questions(self, root: Path, examinee: Examinee) -> list[Question]:
        """Every question of every task; one that occurs twice is two."""
        if self.chat and not examinee.is_chat:
            raise ValueError(f"{self._where}: chat: true wants a chat template, the model has none; set it to false")
        try:
            import lm_eval.api.metrics
        except ImportError as error:
            raise ValueError(f"{self._where}: needs lm-eval; pip install 'perennial[harness]'") from error
        assert lm_eval.api.metrics, "imported for what it registers"
        found = []
        for listed in self.tasks:
            if listed in self.digests and self.digests[listed] != self._digest(root, listed):
                raise ValueError(f"{self._where}: {listed}: its files changed since the run began; run again")
            spec = read_task(root, listed, self._where, functions=self.functions) if listed.endswith(FILES) else listed
            for name, task in build(spec, self.shots, self.seed, self._where).items():
                seen: Counter[str] = Counter()
                for row, document in enumerate(task.eval_docs):
                    own = digest_of(digestible(document))[:16]
                    seen[own] += 1
                    own += f"-{seen[own]}" * (seen[own] > 1)
                    group = str(document.get("document") or own)
                    found.append(Question(f"{self.title}/{name}", own, group, Place(task, row)))
        return self.drawn(found)

    def ask(self, examinee: Examinee, questions: Sequence[Question]) -> Iterator[list[Answered]]:
        """Task by task, some questions at a time."""
        model = respondent(examinee)
        for suite, task in {question.suite: question.asked.task for question in questions}.items():
            own = [question for question in questions if question.suite == suite]
            for start in range(0, len(own), 2 * BATCH_PROMPTS):
                batch = own[start : start + 2 * BATCH_PROMPTS]
                logged = ask(model, suite, task, [question.asked.row for question in batch], chat=self.chat)
                rows = []
                for question in batch:
                    samples = logged[question.asked.row]
                    metric, score = scored(samples, self.metric, f"{self._where}: task {suite}")
                    answer, wanted = said(samples[0])
                    rows.append(answered(question, metric, score, answer, wanted))
                yield rows
