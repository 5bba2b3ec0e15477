"""Select: which of the kept documents are worth their tokens."""

import logging
from typing import Literal

from pydantic import Field

from steps.core.artifacts import Buffer, Chosen, Frozen, Kept, Model, Validation
from steps.core.documents import read_documents, row_of
from steps.core.shards import digest_of, digest_of_file, write_lines
from steps.core.state import CountedDocument
from steps.core.tokenizer import count_tokens, load_tokenizer
from steps.core.workspace import Workspace

logger = logging.getLogger(__name__)


class SelectConfig(Frozen):
    """How documents are chosen."""

    method: Literal["all"] = Field("all", description="all: every kept document")


def select(
    workspace: Workspace, config: SelectConfig, kept: Kept, model: Model, buffer: Buffer, validation: Validation
) -> Chosen:
    """Choose documents and count their tokens: `<task>/documents.jsonl`, with `num_tokens` in each row.

    Raises:
        ValueError: the model's tokenizer cannot be read.
    """
    assert config.method == "all", "the only method so far"
    tokenizer = load_tokenizer(workspace, model)
    num_documents: dict[str, int] = {}
    num_tokens: dict[str, int] = {}
    digests: dict[str, str] = {}
    for done, task in enumerate(kept.tasks):
        workspace.progress(done, len(kept.tasks), "tasks")
        documents = list(read_documents(workspace.at(kept.path) / task.name))
        counts = count_tokens(tokenizer, [document.text for document in documents])
        path = workspace.path / task.name / "documents.jsonl"
        rows = (
            row_of(CountedDocument.model_construct(**dict(document), num_tokens=count))
            for document, count in zip(documents, counts, strict=True)
        )
        num_documents[task.name] = write_lines(path, rows)
        num_tokens[task.name] = sum(counts)
        digests[task.name] = digest_of_file(path)
        logger.info("%s: chose %d documents, %d tokens", task.name, len(documents), sum(counts))
    return Chosen(
        digest=digest_of([[task.model_dump() for task in kept.tasks], digests, kept.stale]),
        path=workspace.relative(workspace.path),
        tasks=kept.tasks,
        num_documents=num_documents,
        num_tokens=num_tokens,
        stale=kept.stale,
    )
