"""Ask a model the suites of a recipe: what it answered before is read from the cache, a kill costs at most a batch."""

import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from steps.core.artifacts import Frozen, Model, SuiteScore
from steps.core.examinee import Examinee
from steps.core.shards import append_line, digest_of, write_lines
from steps.core.workspace import Workspace
from steps.methods.privacy import masked
from steps.methods.suite import Answered, Suite

logger = logging.getLogger(__name__)


class Kept(Frozen):
    """One line of the cache: a batch of answers, and what decided them."""

    source: str = Field(description="digest of the model, the code, the suite and the precision")
    answered: tuple[Answered, ...]


def ask_all(workspace: Workspace, suites: Sequence[Suite], model: Model, examinee: Examinee) -> dict[str, SuiteScore]:
    """Ask every suite; `suites.jsonl` gets one line per question, `answers.jsonl` is the cache. Answers are masked.

    Raises:
        ValueError: a suite's file cannot be read, or a question does not fit into the model.
    """
    rows = [row for suite in suites for row in _ask(workspace, suite, model, examinee)]
    rows.sort(key=lambda row: (row.suite, row.id))
    if rows:
        write_lines(workspace.path / "suites.jsonl", (row.model_dump() for row in rows))
    else:
        (workspace.path / "suites.jsonl").unlink(missing_ok=True)  # of a recipe that had suites
    return {suite: _score([row for row in rows if row.suite == suite]) for suite in sorted({row.suite for row in rows})}


def _ask(workspace: Workspace, suite: Suite, model: Model, examinee: Examinee) -> list[Answered]:
    questions = suite.questions(workspace.root, examinee)
    knobs = suite.model_dump(mode="json", exclude={"limit", "seed"})  # which are asked, not what is answered
    source = digest_of([model.digest, workspace.code, knobs, examinee.precision])
    cache = workspace.path / "answers.jsonl"
    known = _read(cache, source)
    missing = [question for question in questions if (question.suite, question.id) not in known]
    if missing:
        logger.info("%s: %d of %d questions to ask", suite.title, len(missing), len(questions))
    done = 0
    for batch in suite.ask(examinee, missing) if missing else ():
        shown = tuple(row.model_copy(update={"answer": masked(row.answer)}) for row in batch)
        append_line(cache, Kept(source=source, answered=shown).model_dump(mode="json"))
        known.update({(row.suite, row.id): row for row in shown})
        done += len(batch)
        workspace.progress(done, len(missing), f"questions of {suite.title}")
    return [known[question.suite, question.id] for question in questions]


def _read(path: Path, source: str) -> dict[tuple[str, str], Answered]:
    """What this source answered; a line that a kill cut short counts as never written."""
    found: dict[tuple[str, str], Answered] = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            entry = Kept.model_validate_json(line)
        except ValidationError:
            continue
        if entry.source == source:
            found.update({(row.suite, row.id): row for row in entry.answered})
    return found


def _score(rows: Iterable[Answered]) -> SuiteScore:
    found = list(rows)
    mean = math.fsum(row.score for row in found) / len(found)
    return SuiteScore(metric=found[0].metric, score=mean, num_items=len(found))
