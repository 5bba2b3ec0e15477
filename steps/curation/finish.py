"""The end of clean: what needs all parts at once, and the files that are left."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from steps.core.index import IndexRow
from steps.core.minhash import clusters
from steps.core.shards import read_lines, write_json, write_lines
from steps.curation.chain import Passage
from steps.curation.excerpts import dropped_row
from steps.curation.sweep import Swept, dropped_file, kept_file


def twins(swept: Mapping[str, Swept]) -> dict[str, np.ndarray]:
    """For every fit document of each task the place, over all tasks, of the first that says nearly the same, int64 [M].

    Documents that contain a hold-out item or are in the index nearly the same are nobody's twins.
    """
    bands, sizes = [], []
    for own in swept.values():
        if not own.parts:
            sizes.append(0)
            continue
        mine = own.bands.copy()
        mine[[*own.contaminated, *own.near]] = 0
        bands.append(mine)
        sizes.append(len(mine))
    labels = clusters(np.concatenate(bands)) if bands else np.empty(0, dtype=np.int64)
    return dict(zip(swept, np.split(labels, np.cumsum(sizes)[:-1]), strict=True)) if swept else {}


@dataclass(frozen=True)
class Fit:
    """What was kept of a task."""

    rows: list[IndexRow]
    bands: np.ndarray  # uint64 [N, K]
    drops: Counter[str]
    places: list[int]  # of what was kept, among the fit


def write(folder: Path, swept: Swept, labels: np.ndarray, begin: int, keys: Sequence[str]) -> Fit:
    """Write what is kept and what is dropped of a task: `documents.jsonl`, `dropped.jsonl`, `passages.json`.

    `labels` are those of `twins`, `begin` the place of the task's first document among the fit of all tasks, `keys`
    the keys of them all.
    """
    near, drops = swept.near, Counter[str]()
    late: list[dict[str, Any]] = []
    rows: list[IndexRow] = []
    places: list[int] = []
    left = [[len(labels), 0], [len(labels), 0]]  # documents and characters after decontamination, after deduplication

    def kept() -> Iterator[dict[str, Any]]:
        lines = chain.from_iterable(read_lines(kept_file(part.out)) for part in swept.parts)
        for place, row in enumerate(lines):
            item, twin = swept.contaminated.get(place), int(labels[place])
            reason, of = ("contains-holdout", item) if item else ("near-duplicate", near.get(place))
            if of is None and twin != begin + place:
                of = keys[twin]
            for stage, passed in enumerate((item is None, of is None)):
                left[stage][0] -= not passed
                left[stage][1] += len(row["text"]) if passed else 0
            if of is not None:
                late.append(dropped_row(row, reason, of))
                continue
            rows.append(IndexRow(row["key"], row["task"], row["content_hash"]))
            places.append(place)
            yield row

    write_lines(folder / "documents.jsonl", kept())
    early = chain.from_iterable(read_lines(dropped_file(part.out)) for part in swept.parts)
    write_lines(folder / "dropped.jsonl", chain(early, late))
    drops.update(row["reason"] for row in late)
    for part in swept.parts:
        drops.update(part.drops)
    passages = [Passage(*group) for group in _summed([part.passages for part in swept.parts])]
    passages += [Passage(rule, *count) for rule, count in zip(("decontaminate", "dedup"), left, strict=True)]
    changes = sum((part.changes for part in swept.parts), Counter[str]())
    facts = {"passages": [one._asdict() for one in passages], "changes": dict(sorted(changes.items()))}
    write_json(folder / "passages.json", facts)
    return Fit(rows, swept.bands[places] if swept.parts else np.empty((0, 0), dtype=np.uint64), drops, places)


def _summed(parts: Sequence[list[Passage]]) -> Iterator[tuple[str, int, int]]:
    for group in zip(*parts, strict=True):
        yield group[0].rule, sum(one.documents for one in group), sum(one.characters for one in group)
