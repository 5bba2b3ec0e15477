"""Batches are rewritten without documents: a new folder beside the old one, then the two change places."""

import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from pipelines.edge import landing
from pipelines.edge.forget.cut import Seen, cut
from pipelines.edge.forget.search import folders
from pipelines.edge.forget.target import Target
from pipelines.edge.forget.tombstones import described, hash_of
from pipelines.edge.holding import digest_of_landed
from steps.core.artifacts import Batch, Landed
from steps.core.manifest import FILES, MANIFEST, Manifest, Tombstone, digest_of_landing, read_manifest
from steps.core.shards import write_json

NEW, OLD = ".forget-new-", ".forget-old-"


def rewrite_batches(root: Path, target: Target, tombstones: Sequence[Tombstone], *, whole_files: bool) -> list[str]:
    """Cut documents out of every batch; returns the batches that are others now, as `task/name`.

    Raises:
        ValueError: a file cannot be rewritten without them; batches before it are rewritten.
    """
    if not (root / landing.LANDING).is_dir():
        return []
    with landing.lock(root):
        settle_batches(root)
        changed = [each for each in folders(root) if _rewritten(each, target, tombstones, whole_files=whole_files)]
    return [f"{folder.parent.name}/{folder.name}" for folder in changed]


def check_batches(root: Path, target: Target, batches: Collection[tuple[str, str]]) -> None:
    """Try to cut documents out of every file of batches (task, name), without a change to any.

    Raises:
        ValueError: a file cannot be rewritten without them; the message says what to do.
    """
    if not (root / landing.LANDING).is_dir():
        return
    with landing.lock(root):
        settle_batches(root)
        for folder in folders(root):
            if (folder.parent.name, folder.name) not in batches:
                continue
            scratch = folder.with_name(f"{OLD}check")  # one that a crash leaves is removed by the next
            try:
                for file in read_manifest(folder).files:
                    place = scratch / Path(file.name).name
                    scratch.mkdir(exist_ok=True)
                    _link(folder / FILES / file.name, place)
                    cut(place, file.name, lambda record: _gone(record, target))
                    place.unlink(missing_ok=True)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)


def settle_batches(root: Path) -> None:
    """End what a crash cut off between the two renamings."""
    for new in sorted((root / landing.LANDING).glob(f"*/{NEW}*")):
        place = new.with_name(new.name.removeprefix(NEW))
        if place.exists():
            shutil.rmtree(new)  # it may be half
        else:
            new.rename(place)
    for old in sorted((root / landing.LANDING).glob(f"*/{OLD}*")):
        shutil.rmtree(old)


def _rewritten(folder: Path, target: Target, tombstones: Sequence[Tombstone], *, whole_files: bool) -> bool:
    manifest = read_manifest(folder)
    new = folder.with_name(NEW + folder.name)
    files, went = [], list[Seen]()
    try:
        for file in manifest.files:
            place = new / FILES / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            _link(folder / FILES / file.name, place)  # cutting writes another file
            lost = cut(place, file.name, lambda record: _gone(record, target), whole_files=whole_files)
            went += lost
            if not lost:
                files.append(file)
            elif place.exists():
                files.append(described(new, file.name))
        removals = [key for key in manifest.removals if key not in target.keys]
        if not went and len(removals) == len(manifest.removals):
            return False
        contents = {record.content for record in went}
        keys = {hash_of(key) for key in {*manifest.removals, *(str(record.key) for record in went)}}
        met = [each for each in tombstones if each.key in keys or each.content in contents]
        facts = {
            "files": files,
            "removals": removals,
            "digest": digest_of_landing(files, removals),
            "forgotten": [*manifest.forgotten, *(each for each in met if each not in manifest.forgotten)],
        }
        write_json(new / MANIFEST, Manifest.model_validate({**manifest.model_dump(), **facts}).model_dump())
        old = folder.with_name(OLD + folder.name)
        folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return True


def _gone(record: Seen, target: Target) -> bool:
    return target.document(record.key, record.content) or (record.key is None and target.text(record.text))


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def present(root: Path, batch: Batch) -> Batch:
    """A batch as it is now, under its name; one that is not here stays as it was told."""
    folder = root / batch.path
    if not (folder / MANIFEST).exists():
        return batch
    manifest = read_manifest(folder)
    return batch.model_copy(update={"digest": manifest.digest, "removals": manifest.removals})


def present_landing(root: Path, part: Landed) -> Landed:
    """A task's landing with its batches as they are now."""
    batches = tuple(present(root, batch) for batch in part.batches)
    if batches == part.batches:
        return part
    digest = digest_of_landed(root, part.task, batches)
    return part.model_copy(update={"batches": batches, "digest": digest})
