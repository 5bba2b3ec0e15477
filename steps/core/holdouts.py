"""Hold-outs: the items of each task, and the artifact over them."""

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np

from steps.core.artifacts import GateItems, Holdout, HoldoutState, Segment, Validation
from steps.core.documents import Item, read_items, row_of
from steps.core.shards import digest_of, read_lines, write_lines
from steps.core.state import (
    HeldDocument,
    Part,
    current_items,
    describe_segment,
    digest_of_folder,
    digest_of_segments,
)
from steps.core.text import passages
from steps.core.workspace import Workspace

SALT = "perennial/split/1"  # fixed, never the seed: a key stays on its side
PARTS: tuple[Part, ...] = ("gate", "validation")


@dataclass(frozen=True)
class Items:
    """The items of one task."""

    anchor: list[Item]
    validation: list[Item]
    fresh: list[Item] | None = None  # of this attempt's batches; none: the task has no such set
    pooled: bool = False  # its fresh set was too small and holds its anchor set
    recent: list[Item] = field(default_factory=list)  # fresh in one of the refreshes before, not yet retired


def held_folders(workspace: Workspace, state: HoldoutState, part: Part, task: str | None = None) -> list[Path]:
    """The index of the documents held out in a part, of one task or of all; `OpenIndex` reads it."""
    folders: list[Path] = []
    for segment in state.segments:
        folder = workspace.at(segment.path)
        tasks = [folder / task] if task else sorted(path for path in folder.iterdir() if path.is_dir())
        folders += [own / f"{part}-index" for own in tasks if (own / f"{part}-index").is_dir()]
    return folders


def write_items(folder: Path, task: str, items: Items) -> None:
    """The full sets of a task: `gate/<task>/{anchor,fresh,recent}.jsonl`, `validation/<task>/validation.jsonl`."""
    _write(folder / "gate" / task / "anchor.jsonl", items.anchor)
    _write(folder / "validation" / task / "validation.jsonl", items.validation)
    if items.fresh is not None:
        _write(folder / "gate" / task / "fresh.jsonl", items.fresh)
    if items.recent:
        _write(folder / "gate" / task / "recent.jsonl", items.recent)


def describe(
    workspace: Workspace,
    folder: Path,
    before: Sequence[Segment],
    items: Mapping[str, Items],
    held_out: dict[str, int],
    rows: Path,
    fresh_refreshes: int = 1,
) -> Holdout:
    """The artifact over the files below a folder: `segment/`, `gate/`, `validation/`; `rows` lies in that of split."""
    for name in ("gate", "validation", "segment"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    digests = {name: digest_of_folder(folder / name) for name in ("gate", "validation")}
    segments = (*before, describe_segment(workspace, folder / "segment"))
    state = HoldoutState(segments=segments, digest=digest_of_segments(segments))
    pooled = tuple(task for task, own in items.items() if own.pooled)
    return Holdout(
        digest=digest_of([digests, state.digest, held_out, pooled, digest_of_folder(rows)]),
        path=workspace.relative(folder),
        rows=workspace.relative(rows),
        state=state,
        validation=Validation(
            digest=digests["validation"],
            path=workspace.relative(folder / "validation"),
            num_items={task: len(own.validation) for task, own in items.items()},
        ),
        gate=GateItems(
            digest=digests["gate"],
            path=workspace.relative(folder / "gate"),
            anchor={task: len(own.anchor) for task, own in items.items()},
            fresh={task: len(own.fresh) for task, own in items.items() if own.fresh is not None},
            pooled=pooled,
            recent={task: len(own.recent) for task, own in items.items() if own.recent},
        ),
        held_out=held_out,
        fresh_refreshes=fresh_refreshes,
    )


def without_tasks(workspace: Workspace, folder: Path, holdout: Holdout, tasks: Collection[str]) -> Holdout:
    """The same hold-outs as if some tasks had not taken part in this attempt, below a folder."""
    *before, newest = holdout.state.segments
    source, target = workspace.at(newest.path), folder / "segment"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*tasks))
    write_lines(
        target / "removed.jsonl", (row for row in read_lines(source / "removed.jsonl") if row["task"] not in tasks)
    )
    old = current_items(workspace, HoldoutState(digest="", segments=tuple(before)), holdout.fresh_refreshes - 1)
    items = {}
    for task in holdout.gate.anchor:
        gate, validation = workspace.at(holdout.gate.path) / task, workspace.at(holdout.validation.path) / task
        if task not in tasks:
            fresh = read_items(gate / "fresh.jsonl") if task in holdout.gate.fresh else None
            items[task] = Items(
                read_items(gate / "anchor.jsonl"),
                read_items(validation / "validation.jsonl"),
                fresh,
                task in holdout.gate.pooled,
                read_items(gate / "recent.jsonl"),
            )
        elif task in old.anchor or task in old.validation:
            recent = old.recent.get(task, [])
            items[task] = Items(old.anchor.get(task, []), old.validation.get(task, []), recent=recent)
    for task, own in items.items():
        write_items(folder, task, own)
    held_out = {task: count for task, count in holdout.held_out.items() if task not in tasks}
    rows = workspace.at(holdout.rows)
    return describe(workspace, folder, before, items, held_out, rows, holdout.fresh_refreshes)


def rows_of(workspace: Workspace, holdout: Holdout, task: str) -> np.ndarray:
    """What split says of each record of a task: FREE, HELD or SUPERSEDED, int8 [N]."""
    found: np.ndarray = np.load(workspace.at(holdout.rows) / f"{task}.npy", allow_pickle=False)
    return found


def _write(path: Path, items: Sequence[Item]) -> None:
    write_lines(path, map(row_of, items))


def order_of(key: str) -> str:
    """The place of a document among those whose items are taken."""
    return digest_of([SALT, key])


def _item(task: str, document: HeldDocument, text: str) -> Item:
    if not document.messages:
        return Item(id=digest_of([task, document.key, text])[:16], task=task, document=document.key, text=text)
    turns = [[turn.role, turn.content] for turn in document.messages]
    name = digest_of([task, document.key, text, turns])[:16]  # another than that of the same text unlabelled
    return Item(id=name, task=task, document=document.key, text=text, messages=document.messages, time=document.time)


def cut_items(
    task: str, documents: Sequence[HeldDocument], part: Part, old: Sequence[Item], words: tuple[int, int]
) -> list[Item]:
    """New items of a part: passages of `words` words at least and at most, labelled documents whole.

    One of each document in the order of their hashes, then a second of each, and so on.
    """
    seen = {item.text for item in old}
    queues = []
    own_part = [document for document in documents if document.part == part]
    for document in sorted(own_part, key=lambda document: order_of(document.key)):
        own = []
        for text in [document.text] if document.messages else passages(document.text, words[1], words[0]):
            if text not in seen:
                seen.add(text)
                own.append(_item(task, document, text))
        queues.append(sorted(own, key=lambda item: item.id))
    rounds: Iterator[Item | None] = chain.from_iterable(zip_longest(*queues))
    return [item for item in rounds if item is not None]
