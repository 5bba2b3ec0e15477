"""State: what accepted refreshes left, read from its segments.

A segment is a folder that one refresh wrote and nothing changes afterwards. Segments are read oldest first:
- index: see `steps/core/index.py`;
- buffer: `removed.jsonl` (rows `{key, reason}`), then `added.jsonl` (buffered documents), then `changed.jsonl` (rows
  `{key, why}`); `segment.json` has the serial number of the refresh, the replay method with its counters, and what it
  told. A segment that lists every document held stands alone: it replaces those before it;
- hold-outs: `removed.jsonl` (rows `{key}`), then, per task, `<task>/documents.jsonl` (held documents) and the items
  `<task>/{anchor,fresh,validation}.jsonl`. Each accepted refresh leaves one segment, so a segment's place says how many
  refreshes ago its items were fresh; those of older segments than are asked for are retired, and not read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from steps.core.artifacts import Buffer, Chosen, HoldoutState, Segment
from steps.core.documents import Document, Item, document_of, read_items
from steps.core.shards import digest_of, digest_of_files, read_lines
from steps.core.workspace import Workspace

Part = Literal["gate", "validation"]


class CountedDocument(Document):
    """A document with its length in tokens."""

    num_tokens: int = Field(
        description="tokens of the text alone, without special tokens; of a labelled document those of its completions"
    )


class BufferedDocument(CountedDocument):
    """A document of the replay buffer, and how it came there."""

    refresh: int = Field(description="serial number of the refresh in which it came, from 1")
    general: bool = Field(False, description="its task was replay-only then")
    why: str = Field("", description="why the replay method holds it: the method's group or draw")


class HeldDocument(Document):
    """A document that is held out, and in which part."""

    part: Part


class Entry(NamedTuple):
    """What the index knows of a key."""

    task: str
    content_hash: str


@dataclass(frozen=True)
class HeldOut:
    """Hold-outs as they stand: documents in the order in which they came, items by task."""

    documents: list[HeldDocument] = field(default_factory=list)
    anchor: dict[str, list[Item]] = field(default_factory=dict)
    validation: dict[str, list[Item]] = field(default_factory=dict)
    recent: dict[str, list[Item]] = field(default_factory=dict)  # fresh in one of the last refreshes

    def parts(self) -> dict[str, Part]:
        """The part of every key that is held out."""
        return {document.key: document.part for document in self.documents}


def digest_of_folder(folder: Path) -> str:
    """SHA-256 over all files below a folder: their relative names and bytes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return digest_of_files({path.relative_to(folder).as_posix(): path for path in files})


def describe_segment(workspace: Workspace, folder: Path) -> Segment:
    """The artifact of a segment's folder."""
    return Segment(path=workspace.relative(folder), digest=digest_of_folder(folder))


def digest_of_segments(segments: Sequence[Segment]) -> str:
    """The digest of a state."""
    return digest_of([segment.digest for segment in segments])


def current_items(workspace: Workspace, holdout: HoldoutState, num_recent: int = 0) -> HeldOut:
    """The items as they stand, without those of withdrawn documents; the documents themselves are not read.

    `num_recent`: of how many refreshes, the last ones, the items that were fresh then are wanted too.
    """
    return _read_holdout(workspace, holdout, documents=False, num_recent=num_recent)


def current_holdout(workspace: Workspace, holdout: HoldoutState) -> HeldOut:
    """The hold-outs as they stand, without withdrawn documents and their items."""
    return _read_holdout(workspace, holdout, documents=True)


def _read_holdout(workspace: Workspace, holdout: HoldoutState, *, documents: bool, num_recent: int = 0) -> HeldOut:
    held, first_recent = HeldOut(), len(holdout.segments) - num_recent
    for place, segment in enumerate(holdout.segments):
        folder = workspace.at(segment.path)
        held = without(held, {row["key"] for row in read_lines(folder / "removed.jsonl")})
        for task in sorted(path.name for path in folder.iterdir() if path.is_dir()):
            if documents:
                rows = read_lines(folder / task / "documents.jsonl")
                held.documents.extend(document_of(row, HeldDocument) for row in rows)
            held.anchor.setdefault(task, []).extend(read_items(folder / task / "anchor.jsonl"))
            held.validation.setdefault(task, []).extend(read_items(folder / task / "validation.jsonl"))
            if place >= first_recent and (fresh := read_items(folder / task / "fresh.jsonl")):
                held.recent.setdefault(task, []).extend(fresh)
    return held


def without(held: HeldOut, keys: set[str]) -> HeldOut:
    """Hold-outs without some documents and their items."""

    def rest(items: Mapping[str, list[Item]]) -> dict[str, list[Item]]:
        return {task: [item for item in own if item.document not in keys] for task, own in items.items()}

    documents = [document for document in held.documents if document.key not in keys]
    return HeldOut(documents, rest(held.anchor), rest(held.validation), rest(held.recent))


def read_counted(folder: Path) -> list[CountedDocument]:
    """The counted documents of `<folder>/documents.jsonl`, in order."""
    return [document_of(row, CountedDocument) for row in read_lines(folder / "documents.jsonl")]


@dataclass(frozen=True)
class Buffered:
    """A buffer as it stands."""

    documents: dict[str, BufferedDocument] = field(default_factory=dict)  # by key, in the order in which they came
    refresh: int = 0  # serial number of the refresh that wrote its newest segment
    method: str = ""  # that filled it
    counts: dict[str, int] = field(default_factory=dict)  # that method's counters
    num_rows: int = 0  # read from its segments


def read_buffer(workspace: Workspace, buffer: Buffer) -> Buffered:
    """The documents of a buffer, and what its newest segment says."""
    found: dict[str, BufferedDocument] = {}
    num_rows, facts = 0, dict[str, Any]()
    for number, segment in enumerate(buffer.segments, 1):
        folder = workspace.at(segment.path)
        facts = json.loads((folder / "segment.json").read_text(encoding="utf-8"))
        for row in read_lines(folder / "removed.jsonl"):
            found.pop(row["key"], None)
            num_rows += 1
        for row in read_lines(folder / "added.jsonl"):
            found[row["key"]] = document_of({"refresh": number, **row}, BufferedDocument)  # older rows state none
            num_rows += 1
        for row in read_lines(folder / "changed.jsonl"):
            if row["key"] in found:
                found[row["key"]] = found[row["key"]].model_copy(update={"why": row["why"]})
            num_rows += 1
    return Buffered(
        documents=found,
        refresh=int(facts.get("refresh", len(buffer.segments))),
        method=str(facts.get("method", {}).get("method", "")),
        counts={name: int(count) for name, count in facts.get("counts", {}).items()},
        num_rows=num_rows,
    )


def buffer_documents(workspace: Workspace, buffer: Buffer) -> dict[str, BufferedDocument]:
    """The documents of a buffer by key, in the order in which they came."""
    return read_buffer(workspace, buffer).documents


def replay_documents(workspace: Workspace, chosen: Chosen, buffer: Buffer) -> dict[str, list[CountedDocument]]:
    """What can be replayed, by task: the buffer without stale keys, and the replay-only documents of this attempt."""
    stale = set(chosen.stale)
    held = buffer_documents(workspace, buffer)
    pool: dict[str, CountedDocument] = {key: document for key, document in held.items() if key not in stale}
    for task in chosen.tasks:
        if task.role == "replay-only":
            pool.update((document.key, document) for document in read_counted(workspace.at(chosen.path) / task.name))
    found: dict[str, list[CountedDocument]] = {}
    for key in sorted(pool):
        found.setdefault(pool[key].task, []).append(pool[key])
    return dict(sorted(found.items()))
