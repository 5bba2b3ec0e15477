"""Ask a model the suites of a recipe: what it answered before is read from the cache, a kill costs at most a batch."""

import logging
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from steps.core.artifacts import Frozen, Model, SuiteScore
from steps.core.examinee import Examinee
from steps.core.shards import append_line, digest_of, write_lines
from steps.core.workspace import Workspace
from steps.methods.privacy import masked
from steps.methods.suite import Answered, Suite

logger = logging.getLogger(__name__)


class Batch(Frozen):
    """One line of the cache: a batch of answers, and what decided them."""

    source: str = Field(description="digest of the model, the code, the suite and the precision")
    answered: tuple[Answered, ...]


def ask_all(workspace: Workspace, suites: Sequence[Suite], model: Model, examinee: Examinee) -> dict[str, SuiteScore]:
    """Ask every suite; `suites.jsonl` gets one line per question, `answers.jsonl` is the cache. Answers are masked.

    Raises:
        ValueError: a suite's file cannot be read, or a question does not fit into the model.
    """
    sources = {_source_of(workspace, suite, model, examinee) for suite in suites}
    rows = [row for suite in suites for row in _ask(workspace, suite, model, examinee)]
    rows.sort(key=lambda row: (row.suite, row.id))
    _tidy(workspace.path / "answers.jsonl", len(rows), sources)
    if rows:
        write_lines(workspace.path / "suites.jsonl", (row.model_dump() for row in rows))
    else:
        (workspace.path / "suites.jsonl").unlink(missing_ok=True)  # of a recipe that had suites
    return {suite: _score([row for row in rows if row.suite == suite]) for suite in sorted({row.suite for row in rows})}


def _ask(workspace: Workspace, suite: Suite, model: Model, examinee: Examinee) -> list[Answered]:
    questions = suite.questions(workspace.root, examinee)
    source = _source_of(workspace, suite, model, examinee)
    cache = workspace.path / "answers.jsonl"
    same = (batch for batch in _batches(cache) if batch.source == source)
    known = {(row.suite, row.id): row for batch in same for row in batch.answered}
    missing = [question for question in questions if (question.suite, question.id) not in known]
    if missing:
        logger.info("%s: %d of %d questions to ask", suite.title, len(missing), len(questions))
    done = 0
    for batch in suite.ask(examinee, missing) if missing else ():
        shown = tuple(
            row.model_copy(update={"answer": masked(row.answer), "wanted": masked(row.wanted)}) for row in batch
        )
        append_line(cache, Batch(source=source, answered=shown).model_dump(mode="json"))
        known.update({(row.suite, row.id): row for row in shown})
        done += len(batch)
        workspace.progress(done, len(missing), f"questions of {suite.title}")
    return [known[question.suite, question.id] for question in questions]


def _source_of(workspace: Workspace, suite: Suite, model: Model, examinee: Examinee) -> str:
    knobs = suite.model_dump(mode="json", exclude={"limit", "seed"})  # which are asked, not what is answered
    return digest_of([model.digest, workspace.code, knobs, examinee.precision])


def _tidy(cache: Path, num_rows: int, sources: Collection[str]) -> None:
    """Let go of what other code or other knobs answered, once it is the larger part: the file stays short for ever."""
    batches = list(_batches(cache))
    if sum(len(batch.answered) for batch in batches) > 2 * num_rows:
        write_lines(cache, (batch.model_dump(mode="json") for batch in batches if batch.source in sources))


def _batches(cache: Path) -> Iterator[Batch]:
    """What was kept; a line that a kill cut short counts as never written."""
    for line in cache.read_bytes().splitlines() if cache.exists() else ():
        try:
            yield Batch.model_validate_json(line)
        except ValidationError:
            continue


def _score(rows: Iterable[Answered]) -> SuiteScore:
    found = list(rows)
    mean = math.fsum(row.score for row in found) / len(found)
    return SuiteScore(metric=found[0].metric, score=mean, num_items=len(found))
