"""Which documents are meant: by key, by content, and what says nearly the same."""

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipelines.edge import landing
from pipelines.edge.forget.cut import Seen, kind_of, seen
from pipelines.edge.forget.target import Target, runs_of
from steps.core.artifacts import Frozen
from steps.core.documents import content_hash
from steps.core.manifest import FILES, MANIFEST, read_manifest
from steps.core.minhash import band_hashes
from steps.core.shards import read_lines
from steps.core.texts import Texts

TOGETHER = 1000  # records whose near-duplicates are looked for at a time


class Hit(Frozen):
    """One landed record that is to be forgotten, or one that says nearly the same."""

    task: str
    batch: str
    file: str
    line: int
    key: str | None
    content: str
    why: str  # key, content, unreadable, near-duplicate


class Found(NamedTuple):
    """What is to be forgotten, where it landed, what says nearly the same, and whether it is anywhere at all."""

    target: Target
    hits: list[Hit]
    near: list[Hit]
    anywhere: bool


class _Landed(NamedTuple):
    task: str
    batch: str
    file: str
    record: Seen


def wanted(match: Path) -> tuple[list[str], list[str]]:
    """The keys and the texts that a file names: JSON lines of `{key}` or `{text}`, or else a document.

    Raises:
        ValueError: there is no such file, or a line of it names neither.
    """
    if not match.is_file():
        raise ValueError(f"{match}: wanted a document, or JSON lines of {{key}} or {{text}}; there is no such file")
    if kind_of(match, match.name) != "jsonl":
        texts = [record.text for record in seen(match, match.name) if record.key is not None]
        if not texts:
            raise ValueError(f"{match}: no document can be read from it; give its --key")
        return [], texts
    keys, texts = [], []
    for number, line in enumerate(match.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
        except ValueError:
            row = None
        named = [row[name] for name in ("key", "text") if row.get(name)] if isinstance(row, dict) else []
        if not named or not all(isinstance(one, str) for one in named):
            raise ValueError(f'{match}: line {number}: wanted {{"key": …}} or {{"text": …}}, found {line[:80]}')
        keys += [row["key"]] if row.get("key") else []
        texts += [row["text"]] if row.get("text") else []
    return keys, texts


def find(root: Path, keys: Iterable[str], texts: Iterable[str], *, near: bool = False) -> Found:
    """Find documents by key and by text: all that ever stood under the key, and the same text under other keys.

    With `near` what says nearly the same counts as named, too.
    """
    given = list(texts)
    all_keys, contents = set(keys), {content_hash(text) for text in given}
    if contents:
        all_keys |= {key for key, content, _ in _documents(root) if content in contents and key is not None}
    contents |= {content for key, content, _ in _documents(root) if key in all_keys}
    target = Target(keys=frozenset(all_keys), contents=frozenset(contents))
    said = {text for key, content, text in _documents(root) if target.document(key, content)}
    items, passages = _items(root, target)
    target = target.model_copy(update={"items": items, "runs": runs_of([*given, *said, *passages])})
    hits = [_hit(landed, target) for landed in _landed(root) if _meant(landed.record, target)]
    close = _near(root, target, sorted({*given, *said}))
    if near and close:
        return find(root, [*all_keys, *(hit.key for hit in close if hit.key)], given)
    lines = frozenset((hit.batch, hit.file, hit.line) for hit in hits)
    return Found(target.model_copy(update={"lines": lines}), hits, close, bool(said or items))


def _meant(record: Seen, target: Target) -> bool:
    return target.document(record.key, record.content) or (record.key is None and target.text(record.text))


def _hit(landed: _Landed, target: Target) -> Hit:
    record = landed.record
    why = "unreadable" if record.key is None else "key" if record.key in target.keys else "content"
    return Hit(
        task=landed.task,
        batch=landed.batch,
        file=landed.file,
        line=record.line,
        key=record.key,
        content=record.content,
        why=why,
    )


def folders(root: Path) -> list[Path]:
    """The folders of all batches, also of tasks that are no more."""
    found = (path.parent for path in (root / landing.LANDING).glob(f"*/*/{MANIFEST}"))
    return sorted(folder for folder in found if landing.BATCH_NAME.match(folder.name))


def _landed(root: Path) -> Iterator[_Landed]:
    """Every record of every batch."""
    for folder in folders(root):
        manifest = read_manifest(folder)
        for file in manifest.files:
            for record in seen(folder / FILES / file.name, file.name):
                yield _Landed(manifest.task, manifest.name, file.name, record)


def _documents(root: Path) -> Iterator[tuple[str | None, str, str]]:
    """Key, content hash and text of all that landed, and of all that is held in state and stages."""
    for landed in _landed(root):
        if landed.record.key is not None:
            yield landed.record.key, landed.record.content, landed.record.text
    for row in _rows(root):
        if isinstance(row.get("content_hash"), str) and isinstance(row.get("key"), str):
            yield row["key"], row["content_hash"], str(row.get("text", ""))


def _rows(root: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((root / "data").rglob("*.jsonl")):
        if path.parent != root / "data" and not path.is_relative_to(root / landing.LANDING):
            yield from (row for row in read_lines(path) if isinstance(row, dict))


def _items(root: Path, target: Target) -> tuple[frozenset[str], set[str]]:
    """The hold-out items of documents: their ids and texts."""
    found = [row for row in _rows(root) if row.get("document") in target.keys and isinstance(row.get("id"), str)]
    return frozenset(row["id"] for row in found), {str(row["text"]) for row in found if row.get("text")}


def _near(root: Path, target: Target, texts: list[str]) -> list[Hit]:
    """What says nearly the same as texts, and is none of the documents."""
    ours = band_hashes(Texts(texts)) if texts else np.empty((0, 0), dtype=np.uint64)
    found = []
    source = (landed for landed in _landed(root) if landed.record.key is not None) if texts else iter(())
    for batch in iter(lambda: list(itertools.islice(source, TOGETHER)), []):
        theirs = band_hashes(Texts([landed.record.text for landed in batch]))
        met = [(theirs[:, band] != 0) & np.isin(theirs[:, band], ours[:, band]) for band in range(theirs.shape[1])]
        for place in np.flatnonzero(np.any(met, axis=0)).tolist():
            landed = batch[place]
            if not _meant(landed.record, target):
                found.append(_hit(landed, target).model_copy(update={"why": "near-duplicate"}))
    return found
