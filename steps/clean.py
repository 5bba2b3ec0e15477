"""Clean: which documents are fit to train on, each drop with its reason."""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import Field, model_validator

from steps.core.artifacts import Corpus, Frozen, Holdout, Index, Kept
from steps.core.documents import Document, read_documents, read_items
from steps.core.shards import digest_of, write_lines
from steps.core.state import (
    Entry,
    Record,
    current_holdout,
    current_index,
    describe_segment,
    digest_of_folder,
    digest_of_segments,
    newest_records,
)
from steps.core.text import ItemGrams
from steps.core.workspace import Workspace

logger = logging.getLogger(__name__)

LETTERS = re.compile(r"[^\W\d_]+")
SPACE = re.compile(r"\s+")
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f�]")  # control characters but white space, and the replacement character


class Drop(NamedTuple):
    """Why a document was dropped."""

    reason: str
    of: str | None  # the key of its twin, or the hold-out item that it contains


class CleanConfig(Frozen):
    """The rules, in the order in which they apply."""

    min_characters: int = Field(40, ge=0, description="shortest document, characters")
    max_characters: int = Field(200_000, ge=1, description="longest document, characters")
    min_letter_share: float = Field(0.4, ge=0, le=1, description="letters among visible characters, least share of 1")
    max_control_share: float = Field(0.01, ge=0, le=1, description="control characters, largest share of 1")
    ngram_words: int = Field(13, ge=1, description="length of the word runs that are compared with hold-outs, words")
    min_item_words: int = Field(8, ge=1, description="hold-out items shorter than this are not looked for, words")
    coverage: float = Field(0.5, gt=0, le=1, description="share of an item's word runs that gives a document away")
    common_documents: int = Field(5, ge=1, description="word runs in more documents of the task than this are ignored")

    @model_validator(mode="after")
    def _has_room(self) -> "CleanConfig":
        if self.min_characters > self.max_characters:
            raise ValueError(
                f"clean: min_characters {self.min_characters:,} is above max_characters {self.max_characters:,}; "
                "every document would be dropped"
            )
        return self


def clean(
    workspace: Workspace, config: CleanConfig, corpus: Mapping[str, Corpus], holdout: Holdout, index: Index
) -> Kept:
    """Keep the documents that are newest, not held out, not known, and fit.

    Per task: `<task>/documents.jsonl` (kept) and `<task>/dropped.jsonl` (key, reason, of, content_hash, batch);
    `index/` is what this attempt adds to the index.

    Raises:
        ValueError: an artifact lies outside the workspace.
    """
    newest = newest_records(workspace, corpus)
    current = current_index(workspace, index)
    held = current_holdout(workspace, holdout.state)
    held_keys = held.parts()
    held_texts = {document.content_hash: document.key for document in reversed(held.documents)}
    withdrawn = {key for own in corpus.values() for key in own.withdrawn}
    changed = {key for key, record in newest.items() if key in held_keys or not _same(record, current.get(key))}
    stale = sorted(current.keys() & (changed | withdrawn))
    owners = {entry.content_hash: key for key, entry in current.items() if key not in set(stale)}
    grams = ItemGrams(_items(workspace, holdout), config.ngram_words, config.min_item_words)
    entries: list[dict[str, Any]] = [{"key": key, "task": current[key].task, "removed": True} for key in stale]
    kept, dropped, superseded = {}, {}, {}
    for task, own in corpus.items():
        documents, drops = [], []
        rows = list(enumerate(read_documents(workspace.at(own.path))))
        live = [document for row, document in rows if newest[document.key][:2] == (task, row)]
        superseded[task] = len(rows) - len(live)
        for document in live:
            if document.key in held_keys:
                continue
            drop = _known(document, owners) or _unfit(config, document, held_texts)
            owners.setdefault(document.content_hash, document.key)
            if drop:
                drops.append((document, drop))
            else:
                documents.append(document)
        found = grams.contained((document.text for document in documents), config.coverage, config.common_documents)
        judged = list(zip(documents, found, strict=True))
        drops += [(document, Drop("contains-holdout", item)) for document, item in judged if item]
        fit = [document for document, item in judged if not item]
        kept[task] = write_lines(workspace.path / task / "documents.jsonl", (document.model_dump() for document in fit))
        write_lines(workspace.path / task / "dropped.jsonl", (_row(document, drop) for document, drop in drops))
        entries += [{"key": it.key, "task": task, "content_hash": it.content_hash} for it in fit]
        dropped[task] = dict(sorted(Counter(drop.reason for _, drop in drops).items()))
        logger.info("%s: kept %d of %d documents; dropped: %s", task, kept[task], len(rows), dropped[task] or "none")
    write_lines(workspace.path / "index" / "index.jsonl", entries)
    segments = (*index.segments, describe_segment(workspace, workspace.path / "index"))
    digests = {task: digest_of_folder(workspace.path / task) for task in corpus}
    result = Kept(
        digest=digest_of([digests, superseded, stale, [segment.digest for segment in segments]]),
        path=workspace.relative(workspace.path),
        tasks=tuple(own.task for own in corpus.values()),
        kept=kept,
        dropped=dropped,
        superseded=superseded,
        stale=tuple(stale),
        index=Index(segments=segments, digest=digest_of_segments(segments)),
    )
    for task in corpus:
        conservation(corpus, holdout, result, task)
    return result


def conservation(corpus: Mapping[str, Corpus], holdout: Holdout, kept: Kept, task: str) -> None:
    """Check that no record of a task was lost or counted twice.

    Raises:
        AssertionError: landed is not kept + held out + dropped + quarantined + superseded.
    """
    parts = {
        "kept": kept.kept[task],
        "held out": holdout.held_out[task],
        "dropped": sum(kept.dropped[task].values()),
        "quarantined": sum(corpus[task].quarantined.values()),
        "superseded": kept.superseded[task],
    }
    landed = corpus[task].num_landed
    told = " + ".join(f"{name} {count:,}" for name, count in parts.items())
    assert sum(parts.values()) == landed, (
        f"{task}: {landed:,} records landed, but {told} = {sum(parts.values()):,}; this is a fault of perennial, not "
        "of the data: report it with the recipe"
    )


def _same(record: Record, entry: Entry | None) -> bool:
    return entry is not None and entry.content_hash == record.content_hash


def _items(workspace: Workspace, holdout: Holdout) -> Iterator[tuple[str, str]]:
    """Every hold-out item of every task, with its text."""
    for path in (holdout.gate.path, holdout.validation.path):
        for file in sorted(workspace.at(path).glob("*/*.jsonl")):
            for item in read_items(file):
                yield item.id, item.text


def _known(document: Document, owners: Mapping[str, str]) -> Drop | None:
    """The reason to drop a document that is there already."""
    owner = owners.get(document.content_hash)
    if owner is None:
        return None
    return Drop("unchanged" if owner == document.key else "duplicate", owner)


def _unfit(config: CleanConfig, document: Document, held_texts: Mapping[str, str]) -> Drop | None:
    """The reason to drop a document for what it is."""
    text = document.text
    if len(text) < config.min_characters:
        return Drop("too-short", None)
    if len(text) > config.max_characters:
        return Drop("too-long", None)
    visible = max(1, len(text) - sum(map(len, SPACE.findall(text))))
    letters = sum(map(len, LETTERS.findall(text)))
    control = len(CONTROL.findall(text))
    if letters < config.min_letter_share * visible or control > config.max_control_share * len(text):
        return Drop("character-class", None)
    if document.content_hash in held_texts:
        return Drop("contains-holdout", held_texts[document.content_hash])
    return None


def _row(document: Document, drop: Drop) -> dict[str, Any]:
    """A line of `dropped.jsonl`."""
    return {
        "key": document.key,
        "reason": drop.reason,
        "of": drop.of,
        "content_hash": document.content_hash,
        "batch": document.batch,
    }
