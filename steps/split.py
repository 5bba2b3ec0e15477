"""Split: what is held out, in two disjoint parts."""

import hashlib
import heapq
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from pydantic import Field, model_validator

from steps.core.artifacts import Corpus, Frozen, Holdout, HoldoutState, TaskFacts
from steps.core.columns import Columns
from steps.core.documents import document_of, row_of
from steps.core.holdouts import PARTS, SALT, Items, cut_items, describe, held_folders, order_of, write_items
from steps.core.memory import give_back
from steps.core.minhash import clusters
from steps.core.records import FREE, HELD, SUPERSEDED, newest
from steps.core.scan import SIDES, Scan, scan_all, withdrawn, write_held
from steps.core.shards import write_array, write_lines
from steps.core.state import HeldDocument, HeldOut, Part, current_items, without
from steps.core.workspace import Workspace

logger = logging.getLogger(__name__)

CANDIDATES = 8  # documents looked at for each item that is wanted


class SplitConfig(Frozen):
    """What is held out, and how items are cut."""

    gate_share: float = Field(0.1, ge=0, lt=1, description="documents that the gate judges by, share of 1")
    validation_share: float = Field(0.05, ge=0, lt=1, description="documents that training may look at, share of 1")
    passage_words: int = Field(36, ge=1, description="longest item, words; a longer document is cut into passages")
    min_passage_words: int = Field(8, ge=1, description="shortest item, words")
    gate_items: int = Field(100, ge=1, description="items of a task's anchor set, at most; frozen once it is full")
    fresh_items: int = Field(100, ge=0, description="items of a train task's fresh set, at most")
    min_fresh_items: int = Field(100, ge=0, description="items under which a fresh set is pooled with the anchor set")
    fresh_refreshes: int = Field(
        4, ge=1, description="refreshes that a fresh set is judged in, its own the first; then it retires"
    )
    validation_items: int = Field(24, ge=0, description="items of a task's validation set, at most; frozen once full")

    @model_validator(mode="after")
    def _leaves_something(self) -> "SplitConfig":
        if self.gate_share + self.validation_share >= 1:
            raise ValueError(
                f"split: gate_share {self.gate_share} + validation_share {self.validation_share} leave nothing to "
                "train on; their sum must be below 1"
            )
        if self.min_passage_words > self.passage_words:
            raise ValueError(
                f"split: min_passage_words {self.min_passage_words} is above passage_words {self.passage_words}; "
                "no item could be cut"
            )
        return self


def split(workspace: Workspace, config: SplitConfig, corpus: Mapping[str, Corpus], old: HoldoutState) -> Holdout:
    """Hold out documents by the hash of their key, near-duplicates of a task on one side, and cut them into items.

    Below the stage's folder: `segment/` (what this attempt adds to the state), `gate/<task>/*.jsonl`,
    `validation/<task>/validation.jsonl` (the full sets, for every task seen so far), and `rows/<task>.npy` (which
    records of this attempt are free, held out or superseded).

    Raises:
        ValueError: an artifact lies outside the workspace.
    """
    give_back()  # what the stages before freed
    corpus = {task: own for task, own in corpus.items() if not own.held}
    held = {part: held_folders(workspace, old, part) for part in PARTS}
    gone = withdrawn(corpus, held)
    before = without(current_items(workspace, old, config.fresh_refreshes - 1), {key for key, _, _ in gone})
    write_lines(workspace.path / "segment" / "removed.jsonl", ({"key": key, "task": task} for key, task, _ in gone))
    scans = {task: scan_all(workspace, old, held, own) for task, own in corpus.items()}
    live = newest({task: scan.fingerprints for task, scan in scans.items()})
    items, held_out = {}, {}
    for name in sorted(before.anchor.keys() | before.validation.keys() | corpus.keys()):
        candidates: list[HeldDocument] = []
        removed = [(key, part) for key, task, part in gone if task == name]
        if name in corpus:
            sides = _sides(config, corpus[name].task, scans[name], live[name], {key for key, _, _ in gone})
            states = np.where(live[name], np.where(sides > 0, HELD, FREE), SUPERSEDED).astype(np.int8)
            write_array(workspace.path / "rows" / f"{name}.npy", states)
            held_out[name] = int((states == HELD).sum())
            candidates = _hold_out(workspace, config, corpus[name], scans[name], sides, removed)
            logger.info("%s: held out %d of %d documents", name, held_out[name], int(live[name].sum()))
        elif removed:
            write_held(workspace.path / "segment", name, removed, np.empty(0, dtype=np.int8), Columns([]))
        items[name] = _items_of(workspace, config, corpus.get(name), name, candidates, before)
        write_items(workspace.path, name, items[name])
    shutil.rmtree(workspace.path / "parts", ignore_errors=True)
    (workspace.path / "rows").mkdir(exist_ok=True)
    rows = workspace.path / "rows"
    return describe(workspace, workspace.path, old.segments, items, held_out, rows, config.fresh_refreshes)


def side_of(config: SplitConfig, task: TaskFacts, key: str) -> Part | None:
    """The side of a key by its hash alone; none: it may be trained on."""
    share = int(hashlib.sha256(f"{SALT}\0{key}".encode()).hexdigest()[:13], 16) / 16**13
    if task.role == "eval-only":  # all of it is held out, in the proportion of the two parts
        share *= (config.gate_share + config.validation_share) or 1.0
        return "validation" if config.gate_share <= share < config.gate_share + config.validation_share else "gate"
    if share < config.gate_share:
        return "gate"
    return "validation" if share < config.gate_share + config.validation_share else None


def _sides(config: SplitConfig, task: TaskFacts, found: Scan, live: np.ndarray, gone: set[str]) -> np.ndarray:
    """The side of every record, a place in SIDES; near-duplicates lie on one, that of the smallest key among them."""
    labels = clusters(found.bands, live)  # superseded records draw nobody to their side
    sides = np.zeros(len(live), dtype=np.int8)  # of each label
    num_alike = np.bincount(labels[live], minlength=len(live))
    held = found.parts > 0
    smallest: dict[int, str] = {}  # of labels that several records have
    for row, key in enumerate(found.keys):
        if held[row] and key in gone:
            held[row] = False
        if live[row] and num_alike[labels[row]] == 1:
            sides[labels[row]] = SIDES.index(side_of(config, task, key))
        elif live[row]:
            label = int(labels[row])
            smallest[label] = min(smallest.get(label, key), key)
    for label, key in smallest.items():
        sides[label] = SIDES.index(side_of(config, task, key))
    for part in reversed(PARTS):  # what touches both parts is the gate's
        sides[labels[live & held & (found.parts == SIDES.index(part))]] = SIDES.index(part)
    sides = np.where(held & found.by_key, found.parts, sides[labels])
    return np.where(live, sides, np.int8(0))


def _hold_out(
    workspace: Workspace,
    config: SplitConfig,
    corpus: Corpus,
    found: Scan,
    sides: np.ndarray,
    removed: Sequence[tuple[str, Part]],
) -> list[HeldDocument]:
    """Write the documents that are newly held out; returns those whose items come first."""
    new = np.where(found.known, np.int8(0), sides)
    wanted = CANDIDATES * (config.gate_items + config.fresh_items + config.validation_items)
    places = ((order_of(key), row) for row, key in enumerate(found.keys) if new[row])
    first = {row for _, row in heapq.nsmallest(wanted, places)}
    candidates = []

    def documents() -> Iterator[dict[str, Any]]:
        with (workspace.at(corpus.path) / "documents.jsonl").open("rb") as lines:
            for row, line in enumerate(lines):
                if new[row]:
                    held = document_of({**orjson.loads(line), "part": SIDES[new[row]]}, HeldDocument)
                    if row in first:
                        candidates.append(held)
                    yield row_of(held)

    write_lines(workspace.path / "segment" / corpus.task.name / "documents.jsonl", documents())
    write_held(workspace.path / "segment", corpus.task.name, removed, new, found.bands)
    return candidates


def _items_of(
    workspace: Workspace,
    config: SplitConfig,
    corpus: Corpus | None,
    name: str,
    added: list[HeldDocument],
    before: HeldOut,
) -> Items:
    """The full sets of a task, and in the segment what is new in them."""
    old_anchor, old_validation = before.anchor.get(name, []), before.validation.get(name, [])
    words = (config.min_passage_words, config.passage_words)
    recent = before.recent.get(name, [])
    gate_items = cut_items(name, added, "gate", old_anchor + recent, words)
    room = max(0, config.gate_items - len(old_anchor))
    anchor = old_anchor + gate_items[:room]
    new_validation = cut_items(name, added, "validation", old_validation, words)
    new_validation = new_validation[: max(0, config.validation_items - len(old_validation))]
    segment = workspace.path / "segment" / name
    fresh, pooled = None, False
    if corpus and corpus.num_documents and corpus.task.role == "train":
        surplus = config.fresh_items if old_anchor else 0  # at first the anchor itself is fresh, at no more cost
        fresh = gate_items[room : room + surplus]
        write_lines(segment / "fresh.jsonl", map(row_of, fresh))
        if len(fresh) < config.min_fresh_items:
            fresh, pooled = anchor + fresh, True
    write_lines(segment / "anchor.jsonl", map(row_of, gate_items[:room]))
    write_lines(segment / "validation.jsonl", map(row_of, new_validation))
    return Items(anchor, old_validation + new_validation, fresh, pooled, recent)
