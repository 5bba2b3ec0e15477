"""The landing area: what arrived, immutable, in `data/landing/<task>/<batch>/`.

A batch is copied into a folder of another name, its manifest is written last, and then it is renamed: a batch is
there whole or not at all. Batches are numbered, so their order depends on no clock; the kernel's lock on
`data/landing/.lock` keeps two landings apart.
"""

import errno
import fcntl
import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from pydantic import ValidationError

from pipelines.edge.forget.tombstones import buried, hash_of, keep_out
from steps.core.artifacts import Batch, TaskFacts
from steps.core.manifest import FILES, LandedFile, Manifest, digest_of_landing, read_manifest
from steps.core.shards import digest_of_file, read_lines, write_json

logger = logging.getLogger(__name__)

LANDING = "data/landing"
TASKS = "data/tasks.yaml"
PARTIAL = ".partial-"
BATCH_NAME = re.compile(r"^(\d{4,})-[0-9a-f]{8}$")


def load_tasks(root: Path) -> dict[str, TaskFacts]:
    """The tasks of a workspace with their facts, in the order of `data/tasks.yaml`.

    Raises:
        ValueError: the file is missing, is no YAML, or states what is no fact of a task.
    """
    path = root / TASKS
    wanted = "tasks: {name: {role: train, ...}}"
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: missing; write it as `{wanted}`, or run `perennial init`") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: wanted YAML `{wanted}`, found {error}; correct it") from error
    if not isinstance(content, dict) or content.keys() != {"tasks"} or not isinstance(content["tasks"], dict):
        raise ValueError(f"{path}: wanted `{wanted}` and no other key, found {str(content)[:80]}; correct it")
    tasks: dict[str, TaskFacts] = {}
    for name, facts in content["tasks"].items():
        if not isinstance(facts, dict | None) or "name" in (facts or {}):
            raise ValueError(f"{path}: task {name}: wanted facts like `role: train` (no `name`), found {facts!r}")
        try:
            tasks[str(name)] = TaskFacts.model_validate({"name": str(name), **(facts or {})})
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            known = ", ".join(field for field in TaskFacts.model_fields if field != "name")
            raise ValueError(f"{path}: task {name}: {problems}; the facts of a task are: {known}") from error
    return tasks


def batches(root: Path, task: str) -> list[Batch]:
    """The batches of a task, oldest first.

    Raises:
        ValueError: a manifest is damaged, or a file that it lists is missing or of another size.
    """
    folder = root / LANDING / task
    found: list[tuple[int, Batch]] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = BATCH_NAME.match(path.name)
        if not path.is_dir() or path.name.startswith("."):  # on its way in, or being rewritten
            continue
        if match is None or not (path / "manifest.json").exists():
            logger.warning("%s: no batch (no manifest, or no batch's name): left out; remove it", path)
            continue
        found.append((int(match[1]), _batch(root, path, _manifest(path, task))))
    return [batch for _, batch in sorted(found, key=lambda pair: pair[0])]


def land(root: Path, task: str, files: Sequence[Path], removals: Sequence[str] = (), *, now: datetime) -> Batch | None:
    """Land files and folders of files, and withdraw keys; none: the same content has landed before.

    What was forgotten is left out, by its key or its content.

    A landing counts as landed before unless something since can have undone it: a later batch that holds another
    content under one of its file names, or that withdraws keys.

    Raises:
        ValueError: the task does not exist, a path is missing, is no regular file or points outside, or a file that
            cannot be rewritten holds what was forgotten.
        OSError: a file cannot be read, or the disk is full; nothing partial remains.
    """
    tasks = load_tasks(root)
    if task not in tasks:
        raise ValueError(
            f"{root / TASKS}: no task {task!r}; there are: {', '.join(tasks) or 'none'}; add it or correct"
        )
    named = _named(files)
    keys = sorted(set(removals))
    if not named and not keys:
        raise ValueError(f"{task}: nothing to land: wanted files, folders with files, or keys to remove")
    if "" in keys:
        raise ValueError(f"{task}: wanted keys to remove, found an empty one; name the document's key")
    folder = root / LANDING / task
    folder.mkdir(parents=True, exist_ok=True)
    with lock(root):
        for leftover in folder.glob(f"{PARTIAL}*"):  # of a landing that was killed: nobody else holds the lock
            shutil.rmtree(leftover)
        partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder))
        try:
            return _land(root, task, partial, named, keys, now)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                free = shutil.disk_usage(folder).free
                raise OSError(
                    error.errno,
                    f"{folder}: disk full while landing {len(named)} files ({free / 1e6:,.1f} MB free); nothing was "
                    "landed; make room and land again",
                ) from error
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def land_from(root: Path, task: str, source: str, *, now: datetime) -> Batch | None:
    """Land what a connector reads, for instance `installed:pandas`, or what lies at an address; none: it landed before.

    Keys that the latest batch of the same connector held, and that it no longer has, are withdrawn. Files at an fsspec
    address land as they are, as if they had been given by their paths.

    Raises:
        ValueError: the task or the source does not exist.
        OSError: a file cannot be read, or the disk is full.
    """
    from pipelines.edge.connectors import file_name, is_address, write_source
    from pipelines.edge.remote import fetch_files

    if task not in load_tasks(root):
        return land(root, task, (), now=now)  # says which tasks there are
    if is_address(source):
        with tempfile.TemporaryDirectory(prefix="perennial-") as folder:
            fetch_files(source, Path(folder))
            return land(root, task, [Path(folder)], now=now)
    name = file_name(source)
    with tempfile.TemporaryDirectory(prefix="perennial-") as folder:
        path = Path(folder) / name
        write_source(source, path)
        before = [batch for batch in batches(root, task) if (root / batch.path / FILES / name).exists()]
        gone: set[str] = set()
        if before:
            latest = root / before[-1].path / FILES / name
            same = digest_of_file(latest) == digest_of_file(path)
            gone = set(before[-1].removals) if same else _keys(latest) - _keys(path)
        return land(root, task, [path], sorted(gone), now=now)


def _keys(path: Path) -> set[str]:
    return {str(row["key"]) for row in read_lines(path)}


def _land(
    root: Path, task: str, partial: Path, named: dict[str, Path], keys: Sequence[str], now: datetime
) -> Batch | None:
    copied = [_copy(path, partial / FILES / name, name) for name, path in sorted(named.items())]
    landed, met = keep_out(root, partial, copied)
    keys = [key for key in keys if hash_of(key) not in buried(root).keys]
    if not landed and not keys:
        return None
    earlier = batches(root, task)
    if _landed_before(root, earlier, landed, keys):
        return None
    digest = digest_of_landing(landed, keys)
    folder = root / LANDING / task
    numbers = [int(match[1]) for path in folder.iterdir() if (match := BATCH_NAME.match(path.name))]
    name = f"{max(numbers, default=0) + 1:04d}-{digest[:8]}"
    moment = now.astimezone(UTC).isoformat(timespec="seconds")
    facts = {"task": task, "name": name, "landed_at": moment, "files": landed, "removals": keys}
    manifest = Manifest.model_validate({**facts, "digest": digest, "forgotten": met})
    write_json(partial / "manifest.json", manifest.model_dump())
    partial.chmod(0o755)
    partial.rename(folder / name)
    logger.info("%s: landed %s: %d files, %d keys withdrawn", task, name, len(landed), len(keys))
    return _batch(root, folder / name, manifest)


def _landed_before(root: Path, earlier: list[Batch], files: Sequence[LandedFile], keys: Sequence[str]) -> bool:
    names = {file.name: file.sha256 for file in files}
    for batch in reversed(earlier):
        manifest = read_manifest(root / batch.path)
        if (Counter(file.sha256 for file in manifest.files), manifest.removals) == (
            Counter(names.values()),
            tuple(keys),
        ):
            return True
        undone = any(names.get(file.name, file.sha256) != file.sha256 for file in manifest.files)
        if undone or manifest.removals or (keys and manifest.files):
            return False
    return False


def _named(arguments: Sequence[Path]) -> dict[str, Path]:
    """The files to land by the names that they get: paths in their folder; what clashes keeps more of its path."""
    found: dict[Path, str] = {}
    for argument in arguments:
        base = argument.absolute() if argument.is_dir() else argument.absolute().parent
        for path in _files(argument):
            found.setdefault(path.resolve(), path.absolute().relative_to(base).as_posix())
    clashes = {name for name, count in Counter(found.values()).items() if count > 1}
    clashing = [path for path, name in found.items() if name in clashes]
    common = Path(os.path.commonpath(clashing)) if clashing else Path()
    named = {name if name not in clashes else path.relative_to(common).as_posix(): path for path, name in found.items()}
    assert len(named) == len(found), "two files with one name"
    return named


def _files(argument: Path) -> Iterator[Path]:
    if not argument.exists():
        kind = "a link that points nowhere" if argument.is_symlink() else "missing"
        raise ValueError(f"{argument}: {kind}; wanted a file or a folder of files: correct the path")
    base = (argument if argument.is_dir() else argument.parent).resolve()
    if argument.is_dir() and not argument.is_symlink():
        walked = (Path(top) / name for top, folders, names in os.walk(argument) for name in sorted([*names, *folders]))
        paths = sorted(path for path in walked if path.is_symlink() or not path.is_dir())
    else:
        paths = [argument]
    num_landed = 0
    for path in paths:
        inside = path.relative_to(argument).parts if argument.is_dir() and path != argument else ()
        if any(part.startswith(".") for part in inside):
            logger.warning("%s: hidden, so not landed; name it as an argument to land it", path)
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(base):
            raise ValueError(f"{path}: a link to {path.resolve()}, outside {base}; land that file under its own path")
        if path.is_symlink() and path.is_dir():
            continue  # a link to a folder inside, which is landed anyway
        if not path.is_file():
            raise ValueError(f"{path}: wanted a regular file, found a device, pipe or missing file; leave it out")
        num_landed += 1
        yield path
    if not num_landed:
        raise ValueError(f"{argument}: an empty folder; wanted files to land")


def _copy(source: Path, target: Path, name: str) -> LandedFile:
    """Copy one file; what is hashed is what was written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    sha256 = hashlib.sha256()
    with source.open("rb") as reading, target.open("wb") as writing:
        while chunk := reading.read(2**20):
            sha256.update(chunk)
            writing.write(chunk)
        writing.flush()
        os.fsync(writing.fileno())
    return LandedFile(name=name, sha256=sha256.hexdigest(), bytes=target.stat().st_size)


def _manifest(folder: Path, task: str) -> Manifest:
    manifest = read_manifest(folder)
    if (manifest.task, manifest.name) != (task, folder.name):
        raise ValueError(f"{folder}: its manifest is that of {manifest.task}/{manifest.name}; restore the batch")
    for file in manifest.files:
        path = folder / FILES / file.name
        found = path.stat().st_size if path.is_file() else None
        if found != file.bytes:
            raise ValueError(
                f"{path}: wanted {file.bytes:,} bytes, found {'no file' if found is None else f'{found:,}'}; "
                "a batch is immutable: restore the file, or remove the batch's folder and land it again"
            )
    return manifest


def _batch(root: Path, folder: Path, manifest: Manifest) -> Batch:
    return Batch(
        digest=manifest.digest,
        task=manifest.task,
        name=manifest.name,
        path=PurePosixPath(folder.relative_to(root)).as_posix(),
        time=manifest.landed_at,
        removals=manifest.removals,
    )


@contextmanager
def lock(root: Path) -> Iterator[None]:
    """Only one landing, or deletion, at a time; the kernel lets go of the lock when a process dies."""
    with (root / LANDING / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
