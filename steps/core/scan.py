"""The first look of split: which records of an attempt are held out already, by key or by what they say."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from steps.core.artifacts import Corpus, HoldoutState
from steps.core.columns import Columns, Strings, write_block, write_strings
from steps.core.holdouts import PARTS, held_folders
from steps.core.index import IndexRow, OpenIndex, write_index
from steps.core.lookup import fingerprints
from steps.core.minhash import SETTINGS, band_hashes
from steps.core.ranges import RANGE_BYTES, ranges, read_range
from steps.core.shards import read_lines
from steps.core.state import Part
from steps.core.texts import Texts
from steps.core.workspace import Workspace

SIDES: tuple[Part | None, ...] = (None, *PARTS)


class Job(NamedTuple):
    """A part of a task's documents, and what is held out already."""

    file: Path
    begin: int
    end: int
    held: dict[Part, list[Path]]  # the index of every task, to look for keys
    alike: dict[Part, list[Path]]  # that of this task, to look for near-duplicates
    out: Path  # `<out>.keys` and `<out>.bands` are written


class Scan(NamedTuple):
    """What is known of records, in their order."""

    keys: Strings
    fingerprints: np.ndarray  # of the keys, uint64 [N, 2]
    bands: Columns  # uint64 [N, K]
    parts: np.ndarray  # where its key, or else a near-duplicate, is held: a place in SIDES, int8 [N]
    by_key: np.ndarray  # it is the key, bool [N]
    known: np.ndarray  # held with the same content, bool [N]


def scan(job: Job) -> Scan:
    """Read a part of a task's documents: their keys, their bands, and where they are held already."""
    rows = [orjson.loads(line) for line in read_range(job.file, job.begin, job.end)]
    keys = [row["key"] for row in rows]
    bands = band_hashes(Texts([row["text"] for row in rows]))
    parts = np.zeros(len(rows), dtype=np.int8)
    by_key, known = np.zeros(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
    for part in reversed(PARTS):  # what touches both parts is the gate's
        for place, twin in enumerate(OpenIndex(job.alike[part]).near(bands)):
            if twin is not None:
                parts[place] = SIDES.index(part)
    for part in reversed(PARTS):
        for place, entry in enumerate(OpenIndex(job.held[part]).entries(keys)):
            if entry is not None:
                parts[place], by_key[place] = SIDES.index(part), True
                known[place] = entry.content_hash == rows[place]["content_hash"]
    spelled = write_strings(job.out.with_suffix(".keys"), keys)
    written = Columns([write_block(job.out.with_suffix(".bands"), bands)])
    return Scan(spelled, fingerprints(keys), written, parts, by_key, known)


def scan_all(workspace: Workspace, old: HoldoutState, held: dict[Part, list[Path]], corpus: Corpus) -> Scan:
    """Read all documents of a task; what is large of it lies below `parts/`."""
    file, parts = workspace.at(corpus.path) / "documents.jsonl", workspace.path / "parts" / corpus.task.name
    alike = {part: held_folders(workspace, old, part, corpus.task.name) for part in PARTS}
    jobs = [
        Job(file, begin, end, held, alike, parts / f"{place:05}")
        for place, (begin, end) in enumerate(ranges(file, RANGE_BYTES))
    ]
    found = list(workspace.map(scan, jobs)) or [_nothing()]
    return Scan(
        Strings.joined(part.keys for part in found),
        np.concatenate([part.fingerprints for part in found]),
        Columns([block for part in found for block in part.bands.blocks]),
        np.concatenate([part.parts for part in found]),
        np.concatenate([part.by_key for part in found]),
        np.concatenate([part.known for part in found]),
    )


def _nothing() -> Scan:
    bands = Columns([band_hashes(Texts([]))])
    return Scan(Strings(), fingerprints([]), bands, np.empty(0, np.int8), np.empty(0, bool), np.empty(0, bool))


def withdrawn(corpus: Mapping[str, Corpus], held: Mapping[Part, list[Path]]) -> list[tuple[str, str, Part]]:
    """The held documents that this attempt withdraws: key, task, part."""
    keys = sorted({key for own in corpus.values() for key in own.withdrawn})
    return [
        (key, entry.task, part)
        for part in PARTS
        for key, entry in zip(keys, OpenIndex(held[part]).entries(keys), strict=True)
        if entry is not None
    ]


def write_held(
    segment: Path, task: str, removed: Sequence[tuple[str, Part]], sides: np.ndarray, bands: Columns
) -> None:
    """The index of the documents newly held out, and of those that left, by part.

    `sides` says of each record which part it is new in, a place in SIDES; the documents are those of the segment.
    """
    for part in PARTS:
        leaving = [IndexRow(key, task, None) for key, own in removed if own == part]
        coming = sides == SIDES.index(part)
        if leaving or coming.any():
            none = np.zeros((len(leaving), bands.num_columns), dtype=np.uint64)
            counted = np.append(np.ones(len(leaving), dtype=bool), coming)
            rows = chain(leaving, _held_rows(segment / task / "documents.jsonl", part))
            write_index(segment / task / f"{part}-index", rows, Columns([none, bands], counted), SETTINGS)


def _held_rows(file: Path, part: Part) -> Iterator[IndexRow]:
    for row in read_lines(file):
        if row["part"] == part:
            yield IndexRow(row["key"], row["task"], row["content_hash"])
