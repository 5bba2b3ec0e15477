"""State is rewritten without documents: segments under new digests, and the versions that list them."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from pipelines.edge.forget.target import Target
from pipelines.edge.forget.tombstones import hash_of, name_of
from pipelines.edge.lineage import identity_of
from steps.core.artifacts import Segment, State, Version
from steps.core.index import ROWS, TABLES, IndexRow, read_index, write_index
from steps.core.manifest import Tombstone
from steps.core.shards import digest_of, read_lines, write_lines
from steps.core.state import buffer_documents, digest_of_folder, digest_of_segments
from steps.core.workspace import Workspace

STATE = "data/state"
FORGOTTEN = "forgotten.jsonl"  # in a segment, in a version's folder, in a run's lineage
PARTIAL = ".forget-"
StateType = TypeVar("StateType", bound=State)


def rewrite_segments(root: Path, target: Target, tombstones: Sequence[Tombstone]) -> dict[str, str]:
    """Write every segment that holds documents anew, beside the old one; returns the new digests by the old names."""
    moved = {}
    above = root / STATE
    for folder in sorted(above.iterdir()) if above.is_dir() else []:
        if folder.name.startswith("."):
            if folder.name.startswith(PARTIAL):
                shutil.rmtree(folder)  # of a deletion that a crash cut off
            continue
        partial = folder.with_name(PARTIAL + folder.name)
        shutil.copytree(folder, partial)
        met = _rewrite(partial, target)
        if met:
            own = [row.model_dump() for row in tombstones if row.key in met or row.content in met]
            write_lines(partial / FORGOTTEN, [*read_lines(partial / FORGOTTEN), *own])
            digest = digest_of_folder(partial)
            place = folder.with_name(digest[:32])
            if not place.exists():
                partial.rename(place)
            moved[folder.name] = digest
        shutil.rmtree(partial, ignore_errors=True)
    return moved


def remove_segments(root: Path, names: Sequence[str]) -> None:
    """Remove segments that no version lists any more."""
    for name in names:
        shutil.rmtree(root / STATE / name, ignore_errors=True)


def _rewrite(segment: Path, target: Target) -> set[str]:
    """Take documents out of a segment's files; returns the hashes of their keys, and their content hashes."""
    met: set[str] = set()
    for path in sorted(segment.rglob("*.jsonl")):
        if path.name == ROWS:
            met |= _rewrite_index(path.parent, target)
            continue
        if path.name == FORGOTTEN:
            continue
        rows = list(read_lines(path))
        kept = [row for row in rows if not target.row(row)]
        if len(kept) < len(rows):
            for row in rows:
                if target.row(row):
                    key = row.get("key", row.get("document"))
                    met |= {hash_of(key)} if isinstance(key, str) else set()
                    met |= {row["content_hash"]} if "content_hash" in row else set()
            write_lines(path, kept)
    return met


def _rewrite_index(folder: Path, target: Target) -> set[str]:
    """Leave a row that says that something was removed, under a name that tells nothing."""
    rows, bands, settings = read_index(folder)
    gone = [target.document(row.key, row.content_hash or "") for row in rows]
    if not any(gone):
        return set()
    met = {hash_of(row.key) for row, is_gone in zip(rows, gone, strict=True) if is_gone}
    met |= {row.content_hash for row, is_gone in zip(rows, gone, strict=True) if is_gone and row.content_hash}
    after = [IndexRow(name_of(row.key), row.task) if is_gone else row for row, is_gone in zip(rows, gone, strict=True)]
    if bands is not None:
        bands = np.where(np.array(gone)[:, None], np.uint64(0), bands)
    (folder / TABLES).unlink(missing_ok=True)  # it was mapped: others may still read the old one
    write_index(folder, after, bands, settings)
    return met


def renamed(root: Path, version: Version, moved: Mapping[str, str]) -> Version:
    """A version with its segments under their new digests; its own digest is that of before."""
    buffer = _renamed(version.buffer, moved)
    if buffer != version.buffer:
        counts: Counter[str] = Counter()
        for document in buffer_documents(Workspace(root=root, path=root / "data", seed=0), buffer).values():
            counts[document.task] += document.num_tokens
        buffer = buffer.model_copy(update={"num_tokens": dict(sorted(counts.items()))})
    index, holdout = _renamed(version.index, moved), _renamed(version.holdout, moved)
    return version.model_copy(update={"buffer": buffer, "index": index, "holdout": holdout})


def identities(versions: Sequence[Version], after: Sequence[Version]) -> dict[str, str]:
    """The new digests of versions, oldest first, by their old ones: each is over its parent's and its state's."""
    bases = [digest_of(["base", version.references[0].digest]) for version in versions]
    found = {base: base for base in bases}
    for before, now in zip(versions, after, strict=True):
        parent = next((old for old in found if _identity(before, old) == before.digest), None)
        found[before.digest] = before.digest if parent is None else _identity(now, found[parent])
    return found


def _renamed(state: StateType, moved: Mapping[str, str]) -> StateType:
    segments = []
    for segment in state.segments:
        digest = moved.get(segment.digest[:32])
        path = f"{STATE}/{digest[:32]}" if digest else segment.path
        segments.append(Segment(digest=digest, path=path) if digest else segment)
    if tuple(segments) == state.segments:
        return state
    return state.model_copy(update={"segments": tuple(segments), "digest": digest_of_segments(segments)})


def _identity(version: Version, parent: str) -> str:
    """What conclude calls a version: its parent, and all that belongs to it."""
    parts = [version.model, version.buffer, version.index, version.holdout]
    return identity_of(parent, [part.digest for part in parts], version.consumed, version.training_state)
