"""The first look of split: which records of an attempt are held out already, by key or by what they say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from steps.core.artifacts import Corpus, HoldoutState
from steps.core.holdouts import PARTS, held_folders
from steps.core.index import IndexRow, OpenIndex, write_index
from steps.core.lookup import fingerprints
from steps.core.minhash import SETTINGS, band_hashes
from steps.core.ranges import RANGE_BYTES, ranges, read_range
from steps.core.state import Part
from steps.core.texts import Texts
from steps.core.workspace import Workspace


class Job(NamedTuple):
    """A part of a task's documents, and what is held out already."""

    file: Path
    begin: int
    end: int
    held: dict[Part, list[Path]]  # the index of every task, to look for keys
    alike: dict[Part, list[Path]]  # that of this task, to look for near-duplicates


class Scan(NamedTuple):
    """What is known of the records of a part."""

    keys: list[str]
    fingerprints: np.ndarray  # of the keys, uint64 [N, 2]
    bands: np.ndarray  # uint64 [N, K]
    parts: list[Part | None]  # where its key, or else a near-duplicate, is held
    by_key: list[bool]  # it is the key
    known: list[bool]  # held with the same content


def scan(job: Job) -> Scan:
    """Read a part of a task's documents: their keys, their bands, and where they are held already."""
    rows = [orjson.loads(line) for line in read_range(job.file, job.begin, job.end)]
    keys = [row["key"] for row in rows]
    bands = band_hashes(Texts([row["text"] for row in rows]))
    parts: list[Part | None] = [None] * len(rows)
    by_key, known = [False] * len(rows), [False] * len(rows)
    for part in reversed(PARTS):  # what touches both parts is the gate's
        for place, twin in enumerate(OpenIndex(job.alike[part]).near(bands)):
            parts[place] = part if twin is not None else parts[place]
    for part in reversed(PARTS):
        for place, entry in enumerate(OpenIndex(job.held[part]).entries(keys)):
            if entry is not None:
                parts[place], by_key[place] = part, True
                known[place] = entry.content_hash == rows[place]["content_hash"]
    return Scan(keys, fingerprints(keys), bands, parts, by_key, known)


def scan_all(workspace: Workspace, old: HoldoutState, held: dict[Part, list[Path]], corpus: Corpus) -> Scan:
    """Read all documents of a task."""
    file = workspace.at(corpus.path) / "documents.jsonl"
    alike = {part: held_folders(workspace, old, part, corpus.task.name) for part in PARTS}
    jobs = [Job(file, begin, end, held, alike) for begin, end in ranges(file, RANGE_BYTES)]
    found = list(workspace.map(scan, jobs)) or [_nothing()]
    return Scan(
        [key for part in found for key in part.keys],
        np.concatenate([part.fingerprints for part in found]),
        np.concatenate([part.bands for part in found]),
        [side for part in found for side in part.parts],
        [flag for part in found for flag in part.by_key],
        [flag for part in found for flag in part.known],
    )


def _nothing() -> Scan:
    return Scan([], fingerprints([]), band_hashes(Texts([])), [], [], [])


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
    segment: Path,
    task: str,
    index: Sequence[tuple[Part, IndexRow, int]],
    removed: Sequence[tuple[str, Part]],
    bands: np.ndarray,
) -> None:
    """The index of the documents newly held out, and of those that left, by part."""
    for part in PARTS:
        leaving = [IndexRow(key, task, None) for key, own in removed if own == part]
        coming = [row for own, row, _ in index if own == part]
        places = [place for own, _, place in index if own == part]
        none = np.zeros((len(leaving), bands.shape[1]), dtype=np.uint64)
        if leaving or coming:
            folder = segment / task / f"{part}-index"
            write_index(folder, [*leaving, *coming], np.concatenate([none, bands[places]]), SETTINGS)
