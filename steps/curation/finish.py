"""The end of clean: what needs all parts at once, and the files that are left."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from steps.core.columns import Columns
from steps.core.index import IndexRow
from steps.core.minhash import clusters
from steps.core.shards import atomic, read_lines, write_json, write_lines
from steps.curation.chain import Passage
from steps.curation.excerpts import dropped_row
from steps.curation.sweep import Swept, dropped_file, kept_file


def twins(swept: Mapping[str, Swept]) -> dict[str, np.ndarray]:
    """For every fit document of each task the place, over all tasks, of the first that says nearly the same, int64 [M].

    Documents that contain a hold-out item or are in the index nearly the same are nobody's twins.
    """
    if not swept:
        return {}
    counted = {task: np.ones(own.num_fit, dtype=bool) for task, own in swept.items()}
    for task, own in swept.items():
        counted[task][[*own.contaminated, *own.near]] = False
    bands = Columns([own.bands for own in swept.values()])
    labels = clusters(bands, np.concatenate([np.empty(0, dtype=bool), *counted.values()]))
    return dict(zip(swept, np.split(labels, np.cumsum([len(own) for own in counted.values()])[:-1]), strict=True))


@dataclass(frozen=True)
class Fit:
    """What was kept of a task."""

    file: Path  # a JSON line of key, task and content hash for each
    bands: Columns  # uint64 [N, K]
    drops: Counter[str]
    taken: np.ndarray  # which of the fit it is, bool [M]

    @property
    def num_kept(self) -> int:
        """Documents kept, N."""
        return len(self.bands)

    @property
    def places(self) -> list[int]:
        """The places of what was kept, among the fit."""
        found: list[int] = np.flatnonzero(self.taken).tolist()
        return found

    def rows(self) -> Iterator[IndexRow]:
        """What the index says of the documents kept."""
        with self.file.open("rb") as lines:
            for line in lines:
                yield IndexRow(*orjson.loads(line))


def write_all(folder: Path, swept: Mapping[str, Swept], aside: Path) -> dict[str, Fit]:
    """Write what is kept and dropped of every task; what is needed until the index is written goes `aside`."""
    labels, begin = twins(swept), 0
    every = np.concatenate([np.empty(0, dtype=np.int64), *labels.values()])
    names = dict.fromkeys(every[every != np.arange(len(every))].tolist(), "")
    fits = {}
    for task, own in swept.items():
        fits[task] = write(folder / task, own, labels[task], begin, names, aside / task)
        begin += own.num_fit
    return fits


def write(folder: Path, swept: Swept, labels: np.ndarray, begin: int, names: dict[int, str], aside: Path) -> Fit:
    """Write what is kept and what is dropped of a task: `documents.jsonl`, `dropped.jsonl`, `passages.json`.

    `labels` are those of `twins`, `begin` the place of the task's first document among the fit of all tasks. `names`
    has a place for every key that is named as a twin; they are put in as they come by, and a twin comes later.
    """
    near, drops = swept.near, Counter[str]()
    taken = np.zeros(len(labels), dtype=bool)
    left = [[len(labels), 0], [len(labels), 0]]  # documents and characters after decontamination, after deduplication

    def kept(rows: BinaryIO, late: BinaryIO) -> Iterator[dict[str, Any]]:
        lines = chain.from_iterable(read_lines(kept_file(part.out)) for part in swept.parts)
        for place, row in enumerate(lines):
            item, twin = swept.contaminated.get(place), int(labels[place])
            if begin + place in names:
                names[begin + place] = row["key"]
            reason, of = ("contains-holdout", item) if item else ("near-duplicate", near.get(place))
            if of is None and twin != begin + place:
                of = names[twin]
            for stage, passed in enumerate((item is None, of is None)):
                left[stage][0] -= not passed
                left[stage][1] += len(row["text"]) if passed else 0
            if of is not None:
                drops[reason] += 1
                late.write(orjson.dumps(dropped_row(row, reason, of)) + b"\n")
                continue
            taken[place] = True
            rows.write(orjson.dumps((row["key"], row["task"], row["content_hash"])) + b"\n")
            yield row

    index, after = aside / "index.jsonl", aside / "late.jsonl"
    with atomic(index, durable=False) as rows, atomic(after, durable=False) as late:
        write_lines(folder / "documents.jsonl", kept(rows, late))
    early = chain.from_iterable(read_lines(dropped_file(part.out)) for part in swept.parts)
    write_lines(folder / "dropped.jsonl", chain(early, read_lines(after)))
    for part in swept.parts:
        drops.update(part.drops)
    passages = [Passage(*group) for group in _summed([part.passages for part in swept.parts])]
    passages += [Passage(rule, *count) for rule, count in zip(("decontaminate", "dedup"), left, strict=True)]
    changes = sum((part.changes for part in swept.parts), Counter[str]())
    facts = {"passages": [one._asdict() for one in passages], "changes": dict(sorted(changes.items()))}
    write_json(folder / "passages.json", facts)
    return Fit(index, Columns([swept.bands], taken), drops, taken)


def _summed(parts: Sequence[list[Passage]]) -> Iterator[tuple[str, int, int]]:
    for group in zip(*parts, strict=True):
        yield group[0].rule, sum(one.documents for one in group), sum(one.characters for one in group)
