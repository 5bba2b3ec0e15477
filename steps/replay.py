"""Replay: the buffer that the next refresh may draw from."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field, SerializeAsAny

from steps.core.artifacts import Buffer, Chosen, Frozen, Model, Validation
from steps.core.documents import read_items, row_of
from steps.core.lab import Lab
from steps.core.method import from_recipe
from steps.core.shards import write_json, write_lines
from steps.core.state import (
    Buffered,
    BufferedDocument,
    describe_segment,
    digest_of_segments,
    read_buffer,
    read_counted,
)
from steps.core.workspace import Workspace
from steps.methods.replay import Entry, Evidence, Memory, Replay

logger = logging.getLogger(__name__)

MOST_SEGMENTS = 32  # of a buffer: with one more all of it is written anew, as one
SPARE_ROWS = 1000  # likewise once it reads so many rows more than twice the documents that it holds


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

    `segment/` is the new segment: `removed.jsonl` (key, reason), `added.jsonl` (documents, with the refresh in which
    they came and why they are held), `changed.jsonl` (key, why: others that are held for a new reason), `segment.json`.

    Raises:
        AssertionError: a validation document is in the buffer or among the chosen.
    """

    def evidence(text: Mapping[str, str]) -> Evidence:
        return evidence_of(workspace, parent, candidate, validation, text)

    return refilled(workspace, config.buffer, chosen, buffer, evidence, held_out(workspace, validation))


def evidence_of(
    workspace: Workspace, parent: Model, candidate: Model, validation: Validation, text: Mapping[str, str]
) -> Evidence:
    """What the refresh did to the model; `text`: of every document that may be asked about, by key."""

    def asked(question: Callable[[Lab], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        before_N = question(Lab(workspace, parent))  # one after the other: one model is in memory at a time
        return before_N, question(Lab(workspace, candidate))

    def losses(keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        texts = [text[key] for key in keys]
        return asked(lambda lab: lab.losses(texts)) if texts else (np.zeros(0), np.zeros(0))

    def rise() -> dict[str, float]:
        items = [item for path in _validation_files(workspace, validation) for item in read_items(path)]
        before_N, after_N = asked(lambda lab: lab.item_losses(items)) if items else (np.zeros(0), np.zeros(0))
        found: dict[str, list[float]] = {}
        for item, change in zip(items, (after_N - before_N).tolist(), strict=True):
            found.setdefault(item.task, []).append(change)
        return {task: sum(changes) / len(changes) for task, changes in found.items()}

    return Evidence(rise=rise, losses=losses)


def _validation_files(workspace: Workspace, validation: Validation) -> list[Path]:
    return sorted(workspace.at(validation.path).glob("*/validation.jsonl"))


def held_out(workspace: Workspace, validation: Validation) -> dict[str, str]:
    """The task of every held-out document that this step can see; clean leaves out the rest."""
    files = _validation_files(workspace, validation)
    return {item.document: path.parent.name for path in files for item in read_items(path)}


def refilled(
    workspace: Workspace,
    method: Replay,
    chosen: Chosen,
    buffer: Buffer,
    evidence: Callable[[Mapping[str, str]], Evidence],
    forbidden: Mapping[str, str],
) -> Buffer:
    """The next buffer by a method, its segment written.

    `evidence` is made from the texts by key; `forbidden`: the task of every document that is held out.

    Raises:
        AssertionError: the method would hold a forbidden document, or one that it was not given.
    """
    before = read_buffer(workspace, buffer)
    offered = _offered(workspace, chosen, before.refresh + 1)
    stale = dict.fromkeys([*chosen.stale, *(key for key in offered if key in before.documents)])
    current = {key: document for key, document in before.documents.items() if key not in stale} | offered
    general = {task.name: task.role == "replay-only" for task in chosen.tasks}  # a role may have changed
    memory = Memory(
        tuple(_entry(document, general) for document in before.documents.values()),
        before.counts if before.method in {"", method.method_name()} else {},
    )
    arrivals = [_entry(document, general) for document in offered.values()]
    texts = {key: document.text for key, document in current.items()}
    after = method.update(memory, list(stale), arrivals, evidence(texts), workspace.seed)
    why = {entry.key: entry.why for entry in after.entries}
    assert len(why) == len(after.entries), f"{method.method_name()} holds a key twice"
    assert not why.keys() - current.keys(), f"{method.method_name()} holds keys that it was not given"
    leaked = sorted(why.keys() & forbidden.keys())
    assert not leaked, f"{forbidden[leaked[0]]}: held-out documents in the buffer: {', '.join(leaked[:3])}"
    held = [
        document.model_copy(update={"why": why[key]}) if document.why != why[key] else document
        for key, document in current.items()
        if key in why
    ]
    return _written(workspace, method, before, buffer, held, set(stale), after)


def _offered(workspace: Workspace, chosen: Chosen, refresh: int) -> dict[str, BufferedDocument]:
    """What was chosen in this refresh, by key, task after task."""
    found = {}
    for task in chosen.tasks:
        facts: dict[str, Any] = {"refresh": refresh, "general": task.role == "replay-only"}
        for document in read_counted(workspace.at(chosen.path) / task.name):
            found[document.key] = BufferedDocument.model_construct(**dict(document), **facts)
    return found


def _entry(document: BufferedDocument, general: Mapping[str, bool]) -> Entry:
    is_general = general.get(document.task, document.general)
    return Entry(document.key, document.task, document.num_tokens, document.refresh, is_general, document.why)


def _written(
    workspace: Workspace,
    method: Replay,
    before: Buffered,
    buffer: Buffer,
    held: Sequence[BufferedDocument],
    stale: set[str],
    after: Memory,
) -> Buffer:
    """Write the segment: what changed, or once the segments have grown too many or too long, all that is held."""
    refresh, staying = before.refresh + 1, {document.key for document in held}
    added = [document for document in held if document.refresh == refresh]
    changed = [
        {"key": document.key, "why": document.why}
        for document in held
        if document.refresh < refresh and document.why != before.documents[document.key].why
    ]
    removed = [
        {"key": key, "reason": "stale" if key in stale else "evicted"}
        for key in before.documents
        if key in stale or key not in staying
    ]
    num_rows = before.num_rows + len(removed) + len(added) + len(changed)
    is_whole = len(buffer.segments) >= MOST_SEGMENTS or num_rows > 2 * len(held) + SPARE_ROWS
    segment = workspace.path / "segment"
    write_lines(segment / "removed.jsonl", removed)
    write_lines(segment / "added.jsonl", (row_of(document) for document in (held if is_whole else added)))
    write_lines(segment / "changed.jsonl", [] if is_whole else changed)
    facts = {"refresh": refresh, "method": method.model_dump(), "counts": dict(after.counts), "told": dict(after.told)}
    write_json(segment / "segment.json", facts | {"replaces": len(buffer.segments) if is_whole else 0})
    num_tokens: Counter[str] = Counter()
    for document in held:
        num_tokens[document.task] += document.num_tokens
    for group, numbers in after.told.items():
        logger.info("buffer, %s: %s", group, ", ".join(f"{name} {value:.4g}" for name, value in numbers.items()))
    logger.info(
        "buffer: %d documents, %d tokens (%d left, %d came)", len(held), num_tokens.total(), len(removed), len(added)
    )
    segments = (*(() if is_whole else buffer.segments), describe_segment(workspace, segment))
    return Buffer(segments=segments, digest=digest_of_segments(segments), num_tokens=dict(sorted(num_tokens.items())))
