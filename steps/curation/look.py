"""The first pass of clean: what the index and the hold-outs know of every record, before any rule."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from steps.core.artifacts import Corpus
from steps.core.columns import Strings, write_strings
from steps.core.index import OpenIndex
from steps.core.lookup import fingerprints
from steps.core.ranges import RANGE_BYTES, ranges, read_range
from steps.core.records import FREE, HELD, SUPERSEDED, first_to_say
from steps.core.workspace import Workspace

ABSENT, SAME, CHANGED = 0, 1, 2  # what the index knows of a key


class LookJob(NamedTuple):
    """A part of a task's documents, and the indexes to look in."""

    file: Path
    begin: int
    end: int
    folders: list[Path]  # of the index
    held: list[Path]
    out: Path  # `<out>.keys` is written


@dataclass
class Look:
    """What is known of records before any rule, in their order; arrays [N]."""

    keys: Strings = field(default_factory=Strings)
    contents: np.ndarray = field(default_factory=lambda: np.empty((0, 2), dtype=np.uint64))  # fingerprints of the texts
    lengths: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))  # characters
    known: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int8))  # ABSENT, SAME or CHANGED
    owners: dict[int, str] = field(default_factory=dict)  # row -> key in the index with the same content
    copies: dict[int, str] = field(default_factory=dict)  # row -> held-out key with the same content
    sizes: list[int] = field(default_factory=list)  # records of each part


def look(job: LookJob) -> Look:
    """Look up the records of a part."""
    rows = [orjson.loads(line) for line in read_range(job.file, job.begin, job.end)]
    keys, hashes = [row["key"] for row in rows], [row["content_hash"] for row in rows]
    index = OpenIndex(job.folders)
    entries = zip(index.entries(keys), hashes, strict=True)
    known = [ABSENT if entry is None else SAME if entry.content_hash == own else CHANGED for entry, own in entries]
    return Look(
        write_strings(job.out.with_suffix(".keys"), keys),
        fingerprints(hashes),
        np.array([len(row["text"]) for row in rows], dtype=np.int64),
        np.array(known, dtype=np.int8),
        {row: key for row, key in enumerate(index.owners(hashes)) if key is not None},
        {row: key for row, key in enumerate(OpenIndex(job.held).owners(hashes)) if key is not None},
        [len(rows)],
    )


def look_all(workspace: Workspace, file: Path, index: list[Path], held: list[Path]) -> Look:
    """Look up all records of a task; their keys lie below `parts/`."""
    out = workspace.path / "parts" / file.parent.name
    jobs = [
        LookJob(file, begin, end, index, held, out / f"{place:05}")
        for place, (begin, end) in enumerate(ranges(file, RANGE_BYTES))
    ]
    whole, parts, begin = Look(), list(workspace.map(look, jobs)), 0
    for part in parts:
        whole.owners |= {begin + row: key for row, key in part.owners.items()}
        whole.copies |= {begin + row: key for row, key in part.copies.items()}
        whole.sizes += part.sizes
        begin += len(part.lengths)
    whole.keys = Strings.joined(part.keys for part in parts)
    if parts:
        whole.contents = np.concatenate([part.contents for part in parts])
        whole.lengths = np.concatenate([part.lengths for part in parts])
        whole.known = np.concatenate([part.known for part in parts])
    return whole


def stale_keys(
    corpus: Mapping[str, Corpus], looks: Mapping[str, Look], states: Mapping[str, np.ndarray], index: OpenIndex
) -> dict[str, str]:
    """The keys that leave the index, each with its task there: withdrawn, held out now, or with new content."""
    keys = {key for own in corpus.values() for key in own.withdrawn}
    for task, own in looks.items():
        leaving = (own.known == CHANGED) | ((own.known == SAME) & (states[task] == HELD))
        keys |= set(own.keys.at(np.flatnonzero(leaving & (states[task] != SUPERSEDED)).tolist()).values())
    ordered = sorted(keys)
    entries = zip(ordered, index.entries(ordered), strict=True)
    return {key: entry.task for key, entry in entries if entry is not None}


def known_rows(
    looks: Mapping[str, Look], states: Mapping[str, np.ndarray], stale: Mapping[str, str]
) -> dict[str, dict[int, tuple[str, str]]]:
    """The records that need no rule, by task and row: the reason, and the key that says the same."""
    free = {task: states[task] == FREE for task in looks}
    said = first_to_say({task: own.contents for task, own in looks.items()}, free)
    every = Strings.joined(own.keys for own in looks.values())
    found: dict[str, dict[int, tuple[str, str]]] = {}
    begin = 0
    for task, own in looks.items():
        later = said[task] != np.arange(begin, begin + len(said[task]))
        asked = later.copy()
        asked[[*own.owners, *own.copies]] = True
        rows = np.flatnonzero(free[task] & asked).tolist()
        firsts = every.at(said[task][later].tolist())
        keys = own.keys.at(row for row in rows if row in own.owners)
        known: dict[int, tuple[str, str]] = {}
        for row in rows:
            owner, first = own.owners.get(row), int(said[task][row])
            if owner is not None and owner not in stale:
                known[row] = ("unchanged" if owner == keys[row] else "duplicate", owner)
            elif later[row]:
                known[row] = ("duplicate", firsts[first])
            elif row in own.copies:
                known[row] = ("contains-holdout", own.copies[row])
        found[task] = known
        begin += len(later)
    return found
