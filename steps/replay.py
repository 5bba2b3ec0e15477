"""Replay: the buffer that the next refresh may draw from."""

import logging
from collections import Counter
from typing import Annotated

from pydantic import BeforeValidator, Field, SerializeAsAny

from steps.core.artifacts import Buffer, Chosen, Frozen, Model, Validation
from steps.core.documents import read_items, row_of
from steps.core.method import from_recipe
from steps.core.shards import write_json, write_lines
from steps.core.state import (
    CountedDocument,
    buffer_counts,
    buffer_documents,
    describe_segment,
    digest_of_segments,
    read_counted,
)
from steps.core.workspace import Workspace
from steps.methods.replay import Memory, Replay

logger = logging.getLogger(__name__)


class ReplayConfig(Frozen):
    """What stays for later refreshes."""

    buffer: Annotated[SerializeAsAny[Replay], BeforeValidator(from_recipe("replay"))] = Field(
        default_factory=lambda: from_recipe("replay")({"method": "reservoir", "capacity": 2000}),
        description="the method that decides which documents stay",
    )


def replay(
    workspace: Workspace,
    config: ReplayConfig,
    chosen: Chosen,
    buffer: Buffer,
    parent: Model,
    candidate: Model,
    validation: Validation,
) -> Buffer:
    """Make the next buffer: stale documents leave, those of this refresh are offered.

    `segment/` is the new segment: `removed.jsonl` (key, reason), `added.jsonl` (documents), `segment.json` (counters).

    Raises:
        AssertionError: a validation document is in the buffer or among the chosen.
    """
    held = buffer_documents(workspace, buffer)
    offered: dict[str, CountedDocument] = {}
    for task in chosen.tasks:
        offered.update((document.key, document) for document in read_counted(workspace.at(chosen.path) / task.name))
    stale = dict.fromkeys([*chosen.stale, *(key for key in offered if key in held)])
    memory = Memory(keys=tuple(held), counts=buffer_counts(workspace, buffer))
    after = config.buffer.update(memory, list(stale), list(offered), workspace.seed)
    staying = set(after.keys)
    removed = [
        {"key": key, "reason": "stale" if key in stale else "evicted"}
        for key in held
        if key in stale or key not in staying
    ]
    added = [offered[key] for key in after.keys if key in offered]
    kept = [held[key] for key in held if key in staying and key not in stale]
    assert len(kept) + len(added) == len(staying), f"{config.buffer.method_name()} holds keys that it was not given"
    _assert_no_holdout(workspace, validation, staying)
    segment = workspace.path / "segment"
    write_lines(segment / "removed.jsonl", removed)
    write_lines(segment / "added.jsonl", (row_of(document) for document in added))
    write_json(segment / "segment.json", {"method": config.buffer.model_dump(), "counts": after.counts})
    num_tokens: Counter[str] = Counter()
    for document in (*kept, *added):
        num_tokens[document.task] += document.num_tokens
    logger.info(
        "buffer: %d documents, %d tokens (%d left, %d came)", len(staying), num_tokens.total(), len(removed), len(added)
    )
    segments = (*buffer.segments, describe_segment(workspace, segment))
    return Buffer(segments=segments, digest=digest_of_segments(segments), num_tokens=dict(sorted(num_tokens.items())))


def _assert_no_holdout(workspace: Workspace, validation: Validation, keys: set[str]) -> None:
    """Check what this step can see of the hold-outs; clean leaves out the rest."""
    for path in sorted(workspace.at(validation.path).glob("*/validation.jsonl")):
        leaked = sorted({item.document for item in read_items(path)} & keys)
        assert not leaked, f"{path.parent.name}: held-out documents in the buffer: {', '.join(leaked[:3])}"
