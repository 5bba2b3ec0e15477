"""Split: what is held out, in two disjoint parts."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, zip_longest

from pydantic import Field, model_validator

from steps.core.artifacts import Corpus, Frozen, GateItems, Holdout, HoldoutState, TaskFacts, Validation
from steps.core.documents import Document, Item, read_documents
from steps.core.shards import digest_of, write_lines
from steps.core.state import (
    HeldDocument,
    HeldOut,
    Part,
    current_holdout,
    describe_segment,
    digest_of_folder,
    digest_of_segments,
    newest_records,
    without,
)
from steps.core.text import near_duplicates, passages
from steps.core.workspace import Workspace

logger = logging.getLogger(__name__)

SALT = "perennial/split/1"  # fixed, never the seed: a key stays on its side


class SplitConfig(Frozen):
    """What is held out, and how items are cut."""

    gate_share: float = Field(0.1, ge=0, lt=1, description="documents that the gate judges by, share of 1")
    validation_share: float = Field(0.05, ge=0, lt=1, description="documents that training may look at, share of 1")
    passage_words: int = Field(36, ge=1, description="longest item, words; a longer document is cut into passages")
    min_passage_words: int = Field(8, ge=1, description="shortest item, words")
    gate_items: int = Field(100, ge=1, description="items of a task's anchor set, at most; frozen once it is full")
    fresh_items: int = Field(100, ge=0, description="items of a train task's fresh set, at most")
    min_fresh_items: int = Field(100, ge=0, description="items under which a fresh set is pooled with the anchor set")
    validation_items: int = Field(24, ge=0, description="items of a task's validation set, at most; frozen once full")
    similarity: float = Field(
        0.8, gt=0, le=1, description="Jaccard similarity of 5-word runs from which documents are near-duplicates"
    )

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
    """Hold out documents by the hash of their key, near-duplicates on one side, and cut them into items.

    Below the stage's folder: `segment/` (what this attempt adds to the state), `gate/<task>/{anchor,fresh}.jsonl` and
    `validation/<task>/validation.jsonl` (the full sets, for every task seen so far).

    Raises:
        ValueError: an artifact lies outside the workspace.
    """
    before = current_holdout(workspace, old)
    withdrawn = {key for own in corpus.values() for key in own.withdrawn}
    gone = sorted(withdrawn & before.parts().keys())
    held = without(before, set(gone))
    newest = newest_records(workspace, corpus)
    write_lines(workspace.path / "segment" / "removed.jsonl", ({"key": key} for key in gone))
    anchor, fresh, validation = {}, {}, {}
    held_out, pooled = {}, []
    for name in sorted(held.anchor.keys() | held.validation.keys() | corpus.keys()):
        added: list[HeldDocument] = []
        if name in corpus:
            rows = enumerate(read_documents(workspace.at(corpus[name].path)))
            documents = [document for row, document in rows if newest[document.key][:2] == (name, row)]
            added, held_out[name] = _hold_out(config, corpus[name].task, documents, held)
            _write(workspace, f"segment/{name}/documents.jsonl", added)
            logger.info("%s: held out %d of %d documents", name, held_out[name], len(documents))
        old_anchor, old_validation = held.anchor.get(name, []), held.validation.get(name, [])
        gate_items = _items(config, name, added, "gate", old_anchor)
        room = max(0, config.gate_items - len(old_anchor))
        anchor[name] = old_anchor + gate_items[:room]
        new_validation = _items(config, name, added, "validation", old_validation)
        new_validation = new_validation[: max(0, config.validation_items - len(old_validation))]
        validation[name] = old_validation + new_validation
        if name in corpus and corpus[name].num_documents and corpus[name].task.role == "train":
            surplus = config.fresh_items if old_anchor else 0  # at first the anchor itself is fresh, at no more cost
            new_fresh = gate_items[room : room + surplus]
            fresh[name] = new_fresh
            if len(new_fresh) < config.min_fresh_items:
                fresh[name] = anchor[name] + new_fresh
                pooled.append(name)
            _write(workspace, f"segment/{name}/fresh.jsonl", new_fresh)
            _write(workspace, f"gate/{name}/fresh.jsonl", fresh[name])
        _write(workspace, f"segment/{name}/anchor.jsonl", gate_items[:room])
        _write(workspace, f"segment/{name}/validation.jsonl", new_validation)
        _write(workspace, f"gate/{name}/anchor.jsonl", anchor[name])
        _write(workspace, f"validation/{name}/validation.jsonl", validation[name])
    items = {"anchor": anchor, "fresh": fresh, "validation": validation}
    return _describe(workspace, old, items, held_out, pooled)


def _hold_out(
    config: SplitConfig, task: TaskFacts, documents: list[Document], held: HeldOut
) -> tuple[list[HeldDocument], int]:
    """The documents of a task that are held out and were not yet, and how many are held out in all."""
    parts = held.parts()
    known = {(document.key, document.content_hash) for document in held.documents}
    old = [document for document in held.documents if document.task == task.name]
    together: list[Document] = [*old, *documents]
    labels = near_duplicates([document.text for document in together], config.similarity)
    fixed: dict[int, Part] = {}
    smallest: dict[int, str] = {}
    for label, document in zip(labels, together, strict=True):
        if document.key in parts and fixed.get(label) != "gate":  # what touches both parts is the gate's
            fixed[label] = parts[document.key]
        smallest[label] = min(smallest.get(label, document.key), document.key)
    added, count = [], 0
    for label, document in zip(labels[len(old) :], documents, strict=True):
        part = parts.get(document.key) or fixed.get(label) or side_of(config, task, smallest[label])
        count += part is not None
        if part is not None and (document.key, document.content_hash) not in known:
            added.append(HeldDocument(**document.model_dump(), part=part))
    return added, count


def side_of(config: SplitConfig, task: TaskFacts, key: str) -> Part | None:
    """The side of a key by its hash alone; none: it may be trained on."""
    share = int(hashlib.sha256(f"{SALT}\0{key}".encode()).hexdigest()[:13], 16) / 16**13
    if task.role == "eval-only":  # all of it is held out, in the proportion of the two parts
        share *= (config.gate_share + config.validation_share) or 1.0
        return "validation" if config.gate_share <= share < config.gate_share + config.validation_share else "gate"
    if share < config.gate_share:
        return "gate"
    return "validation" if share < config.gate_share + config.validation_share else None


def _items(config: SplitConfig, task: str, documents: list[HeldDocument], part: Part, old: list[Item]) -> list[Item]:
    """New items of a part: one of each document in the order of their hashes, then a second of each, and so on."""
    seen = {item.text for item in old}
    queues = []
    own_part = [document for document in documents if document.part == part]
    for document in sorted(own_part, key=lambda document: digest_of([SALT, document.key])):
        own = []
        for text in passages(document.text, config.passage_words, config.min_passage_words):
            if text not in seen:
                seen.add(text)
                name = digest_of([task, document.key, text])[:16]
                own.append(Item(id=name, task=task, document=document.key, text=text))
        queues.append(sorted(own, key=lambda item: item.id))
    rounds: Iterator[Item | None] = chain.from_iterable(zip_longest(*queues))
    return [item for item in rounds if item is not None]


def _write(workspace: Workspace, name: str, rows: Sequence[Item | HeldDocument]) -> None:
    write_lines(workspace.path / name, (row.model_dump() for row in rows))


def _describe(
    workspace: Workspace,
    old: HoldoutState,
    items: Mapping[str, Mapping[str, list[Item]]],
    held_out: dict[str, int],
    pooled: list[str],
) -> Holdout:
    """The artifact over the files that were written."""
    counts = {name: {task: len(own) for task, own in sets.items()} for name, sets in items.items()}
    folders = {name: workspace.path / name for name in ("gate", "validation")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    digests = {name: digest_of_folder(folder) for name, folder in folders.items()}
    segments = (*old.segments, describe_segment(workspace, workspace.path / "segment"))
    state = HoldoutState(segments=segments, digest=digest_of_segments(segments))
    return Holdout(
        digest=digest_of([digests, state.digest, held_out, pooled]),
        path=workspace.relative(workspace.path),
        state=state,
        validation=Validation(
            digest=digests["validation"],
            path=workspace.relative(folders["validation"]),
            num_items=counts["validation"],
        ),
        gate=GateItems(
            digest=digests["gate"],
            path=workspace.relative(folders["gate"]),
            anchor=counts["anchor"],
            fresh=counts["fresh"],
            pooled=tuple(pooled),
        ),
        held_out=held_out,
    )
