"""The second pass of clean: what is new goes through the rules, in parts that any worker can do."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from steps.core.columns import Block, Columns, write_block
from steps.core.documents import Document, document_of, row_of
from steps.core.index import OpenIndex
from steps.core.ranges import RANGE_BYTES, ranges, read_range
from steps.core.shards import canonical_json, digest_of_file, write_atomic, write_lines
from steps.core.texts import Texts
from steps.core.workspace import Workspace
from steps.curation.chain import Chain, Passage, judge
from steps.curation.cleaned import CleanContract, hold_to
from steps.curation.excerpts import dropped_row, explained
from steps.curation.look import Look
from steps.curation.statistics import languages_of, share_to_sample
from steps.methods.decontaminate import Decontaminate, Grams, Hits
from steps.methods.dedup import Dedup


class Rules(NamedTuple):
    """All that decides about the documents of a task."""

    chain: Chain
    decontaminate: Decontaminate
    dedup: Dedup
    learned: Path
    grams: Path
    folders: list[Path]  # of the index
    stale: frozenset[str]
    contract: CleanContract | None = None


class JudgeJob(NamedTuple):
    """A part of a task's documents, and what decides about them."""

    file: Path
    begin: int
    end: int
    rows: np.ndarray  # of the part, those to judge, int32
    known: dict[int, tuple[str, str]]  # row of the part -> the reason to drop it unseen, and who says the same
    rules: Rules
    share: float  # of the documents whose language is told, 0..1
    out: Path  # `<out>.kept.jsonl`, `<out>.dropped.jsonl` and `<out>.bands` are written


class Part(NamedTuple):
    """What is left of a part."""

    out: Path
    num_fit: int  # documents that no rule dropped, M
    bands: Block  # uint64 [M, K]
    hits: Hits
    near: dict[int, str]  # place among the fit -> key in the index that is nearly the same
    lengths: np.ndarray  # characters of the fit, as they stand
    passages: list[Passage]
    changes: Counter[str]
    drops: Counter[str]
    languages: dict[int, str]  # place among the fit -> its language as it landed, of a sample
    contract: dict[int, dict[str, Any]]  # what the contract of cleaned documents found
    languages_seen: Counter[str]  # of the whole sample, dropped or not


def judge_part(job: JudgeJob) -> Part:
    """Put a part through the rules."""
    wanted, documents, dropped = set(job.rows.tolist()), [], []
    for row, line in enumerate(read_range(job.file, job.begin, job.end)):
        if row in wanted:
            documents.append(document_of(orjson.loads(line), Document))
        elif row in job.known:
            reason, of = job.known[row]
            dropped.append(dropped_row(orjson.loads(line), reason, of))
    told = languages_of(documents, job.share)
    judged = judge(job.rules.chain, documents, job.rules.learned)
    contract = hold_to(job.rules.contract, judged) if job.rules.contract else {}
    fit = judged.fit
    kept = [judged.fates[row].document for row in fit]
    texts = Texts([document.text for document in kept])
    bands = job.rules.dedup.sign(texts)
    near = OpenIndex(job.rules.folders).near(bands, job.rules.stale)
    write_lines(kept_file(job.out), (row_of(document) for document in kept))
    dropped += explained(job.rules.chain, [fate for fate in judged.fates if fate.rule])
    write_lines(dropped_file(job.out), dropped)
    return Part(
        job.out,
        len(kept),
        write_block(job.out.with_suffix(".bands"), bands),
        job.rules.decontaminate.hits(texts, load_grams(job.rules.grams)),
        {place: key for place, key in enumerate(near) if key is not None},
        np.array([len(document.text) for document in kept], dtype=np.int64),
        judged.passages,
        judged.changes,
        Counter(row["reason"] for row in dropped),
        {place: told[row] for place, row in enumerate(fit) if row in told},
        contract,
        Counter(told.values()),
    )


@dataclass(frozen=True)
class Swept:
    """What the rules left of a task."""

    parts: list[Part]
    contaminated: dict[int, str]  # place among the fit of the task -> hold-out item

    @property
    def bands(self) -> Columns:
        """The buckets of the fit, uint64 [M, K]."""
        return Columns([part.bands for part in self.parts])

    @property
    def num_fit(self) -> int:
        """Documents that no rule dropped."""
        return sum(part.num_fit for part in self.parts)

    @property
    def near(self) -> dict[int, str]:
        """Place among the fit of the task -> key in the index that is nearly the same."""
        return self._placed([part.near for part in self.parts])

    @property
    def lengths(self) -> np.ndarray:
        """Characters of the fit, as they stand, int64 [M]."""
        return np.concatenate([np.empty(0, dtype=np.int64), *(part.lengths for part in self.parts)])

    @property
    def languages(self) -> dict[int, str]:
        """Place among the fit of the task -> its language as it landed, of a sample."""
        return self._placed([part.languages for part in self.parts])

    @property
    def languages_seen(self) -> Counter[str]:
        """The languages of the sample, dropped or not."""
        return sum((part.languages_seen for part in self.parts), Counter[str]())

    def _placed(self, found: list[dict[int, str]]) -> dict[int, str]:
        begins = np.cumsum([0, *(part.num_fit for part in self.parts)]).tolist()
        return {begin + place: value for begin, own in zip(begins, found, strict=False) for place, value in own.items()}


def judge_all(
    workspace: Workspace, rules: Rules, file: Path, seen: Look, free: np.ndarray, known: Mapping[int, tuple[str, str]]
) -> Swept:
    """Put the free records of a task, those that are not known, through the rules."""
    jobs, first = [], 0
    share = share_to_sample(int(free.sum()) - len(known))
    for place, ((begin, end), size) in enumerate(zip(ranges(file, RANGE_BYTES), seen.sizes, strict=True)):
        own = {row - first: known[row] for row in range(first, first + size) if row in known}
        judged = free[first : first + size].copy()
        judged[list(own)] = False
        out = workspace.path / "parts" / file.parent.name / f"{place:05}"
        jobs.append(JudgeJob(file, begin, end, np.flatnonzero(judged).astype(np.int32), own, rules, share, out))
        first += size
    parts = []
    for done, part in enumerate(workspace.map(judge_part, jobs)):
        workspace.progress(done, len(jobs), "parts")
        parts.append(part)
    sizes = [part.num_fit for part in parts]
    return Swept(parts, rules.decontaminate.verdicts([part.hits for part in parts], sizes, load_grams(rules.grams)))


def save_grams(folder: Path, grams: Grams) -> Path:
    """Write n-grams where every worker can read them; returns the file."""
    from safetensors.numpy import save

    whole = {name: np.ascontiguousarray(array) for name, array in grams.arrays.items()}
    content = save(whole, metadata={"items": canonical_json(list(grams.items))})
    write_atomic(folder / "grams.safetensors", content)
    path = folder / f"grams-{digest_of_file(folder / 'grams.safetensors')[:16]}.safetensors"
    return (folder / "grams.safetensors").rename(path)


@lru_cache(maxsize=2)
def load_grams(path: Path) -> Grams:
    """N-grams that were written."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        items = tuple(orjson.loads(file.metadata()["items"]))
        return Grams(items, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (no mapping)


def kept_file(out: Path) -> Path:
    """Where a part's fit documents lie."""
    return out.with_name(f"{out.name}.kept.jsonl")


def dropped_file(out: Path) -> Path:
    """Where a part's dropped records lie."""
    return out.with_name(f"{out.name}.dropped.jsonl")
