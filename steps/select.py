"""Select: which of the kept documents are worth their tokens."""

import logging
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializeAsAny

from steps.core.artifacts import Buffer, Chosen, Frozen, Kept, Model, TaskFacts, Validation
from steps.core.documents import Item, content_hash, read_documents, read_items, row_of
from steps.core.lab import Lab
from steps.core.method import from_recipe
from steps.core.rows import count_losses
from steps.core.shards import digest_of, digest_of_file, write_lines
from steps.core.state import CountedDocument, buffer_documents
from steps.core.tokenizer import load_tokenizer
from steps.core.workspace import Workspace
from steps.methods.select import Choice, Pool, Select

logger = logging.getLogger(__name__)


class SelectConfig(Frozen):
    """How documents are chosen."""

    new: Annotated[SerializeAsAny[Select], BeforeValidator(from_recipe("select"))] = Field(
        default_factory=lambda: from_recipe("select")({"method": "all"}),
        description="the method that decides which new documents are trained on",
    )


def select(
    workspace: Workspace, config: SelectConfig, kept: Kept, model: Model, buffer: Buffer, validation: Validation
) -> Chosen:
    """Choose documents and count their tokens: `<task>/documents.jsonl`, with `num_tokens` in each row.

    Of tasks of role `train` the method chooses; what it passes over is in `<task>/left.jsonl`. Others pass whole. Of a
    labelled document the tokens of its completions are counted: what plan spreads are loss tokens.

    Raises:
        ValueError: the model's tokenizer cannot be read, or the method has too little text to judge by.
        AssertionError: a held-out document is among the chosen.
    """
    sight = _Sight(workspace, kept, model, buffer, validation)
    num_documents: dict[str, int] = {}
    num_tokens: dict[str, int] = {}
    left: dict[str, int] = {}
    digests: dict[str, str] = {}
    for done, task in enumerate(kept.tasks):
        workspace.progress(done, len(kept.tasks), "tasks")
        documents = sight.counted(task.name)
        chosen = documents
        if task.role == "train" and documents:
            choice = config.new.choose(sight.pool(task, documents), workspace.seed)
            chosen = _chosen(documents, choice)
            left[task.name] = write_lines(workspace.path / task.name / "left.jsonl", _left(documents, choice))
            logger.info("%s: %s", task.name, choice.told)
        _assert_no_holdout(task.name, chosen, sight.held_out(task.name))
        path = workspace.path / task.name / "documents.jsonl"
        num_documents[task.name] = write_lines(path, map(row_of, chosen))
        num_tokens[task.name] = sum(document.num_tokens for document in chosen)
        digests[task.name] = digest_of_file(path)
        logger.info("%s: chose %d documents, %d tokens", task.name, len(chosen), num_tokens[task.name])
    return Chosen(
        digest=digest_of([[task.model_dump() for task in kept.tasks], digests, kept.stale]),
        path=workspace.relative(workspace.path),
        tasks=kept.tasks,
        num_documents=num_documents,
        num_tokens=num_tokens,
        stale=kept.stale,
        left={name: count for name, count in left.items() if count},
    )


class _Sight:
    """What a method may look at; read at the first question."""

    def __init__(self, workspace: Workspace, kept: Kept, model: Model, buffer: Buffer, validation: Validation) -> None:
        self._workspace, self._kept, self._buffer, self._validation = workspace, kept, buffer, validation
        self._tokenizer = load_tokenizer(workspace, model)
        self._lab = Lab(workspace, model)
        self.counted = cache(self._counted)
        self.held_out = cache(self._held_out)
        self._memory = cache(self._read_memory)

    def pool(self, task: TaskFacts, documents: Sequence[CountedDocument]) -> Pool:
        """The pool of one task."""

        def target() -> list[str]:
            return [item.text for item in self.held_out(task.name)]

        def trusted() -> list[str]:
            return [document.text for document in self._memory() if document.task == task.name] or target()

        return Pool(task.name, documents, target, lambda: list(self._general()), trusted, self._lab)

    def _general(self) -> Iterator[str]:
        """Replay-only documents of this landing, and what the buffer holds of tasks that it does not train on."""
        for task in self._kept.tasks:
            if task.role == "replay-only":
                yield from (document.text for document in self.counted(task.name))
        trained = {task.name for task in self._kept.tasks if task.role == "train"}
        yield from (document.text for document in self._memory() if document.task not in trained)

    def _held_out(self, task: str) -> list[Item]:
        path = self._workspace.at(self._validation.path) / task / "validation.jsonl"
        return read_items(path) if path.exists() else []

    def _counted(self, task: str) -> list[CountedDocument]:
        documents = list(read_documents(self._workspace.at(self._kept.path) / task))
        counts = count_losses(self._tokenizer, documents)
        return [
            CountedDocument.model_construct(**dict(document), num_tokens=count)
            for document, count in zip(documents, counts, strict=True)
        ]

    def _read_memory(self) -> list[CountedDocument]:
        """The buffer, without documents that this landing replaces."""
        stale = set(self._kept.stale)
        held = buffer_documents(self._workspace, self._buffer)
        return [document for key, document in held.items() if key not in stale]


def _chosen(documents: Sequence[CountedDocument], choice: Choice) -> list[CountedDocument]:
    assert len(choice.scores) == len(documents), f"{len(choice.scores)} scores of {len(documents)} documents"
    assert list(choice.kept) == sorted(set(choice.kept)), "places of kept documents ascend"
    return [documents[place] for place in choice.kept]


def _left(documents: Sequence[CountedDocument], choice: Choice) -> Iterator[dict[str, Any]]:
    kept = set(choice.kept)
    for place, (document, score) in enumerate(zip(documents, choice.scores, strict=True)):
        if place not in kept:
            facts = {"key": document.key, "content_hash": document.content_hash, "num_tokens": document.num_tokens}
            yield facts | {"score": score, "reason": choice.reason}


def _assert_no_holdout(task: str, chosen: Sequence[CountedDocument], items: Sequence[Item]) -> None:
    """Check what this step can see of the hold-outs; clean leaves out the rest."""
    keys = {item.document for item in items}
    hashes = {content_hash(item.text) for item in items}
    leaked = sorted(document.key for document in chosen if document.key in keys or document.content_hash in hashes)
    assert not leaked, f"{task}: held-out documents among the chosen: {', '.join(leaked[:3])}"
