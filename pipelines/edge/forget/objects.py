"""DVC's objects that hold documents: removed from the cache and from every remote; pointers name what is left."""

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import yaml

from pipelines.edge import landing, versioning
from pipelines.edge.forget.cut import seen
from pipelines.edge.forget.target import Target
from pipelines.edge.forget.tombstones import TOMBSTONES

LANDED = re.compile(r"^\d{4,}-[0-9a-f]{8}/files/(.+)$")
RECORD = "record.json"  # every folder of a stage has one
MOST_BYTES = 2**28  # of a file that is no list of rows and may show text


class _Listing(NamedTuple):
    """A folder as DVC lists it: the objects and names of its files."""

    files: list[tuple[str, str]]

    @property
    def of_a_stage(self) -> bool:
        return any(name == RECORD for _, name in self.files)


def remove_objects(root: Path, target: Target) -> dict[str, int]:
    """Remove what holds documents from DVC's cache and remotes; returns how many objects, by place.

    Of a folder that a stage made everything goes: what it was packed into cannot be told apart.

    Raises:
        Exception: a remote cannot be reached; the cache and the remotes before it are done.
    """
    if not (root / ".dvc").is_dir():
        return {}
    removed, judged = {}, dict[str, bool]()
    with versioning.repository(root) as repo:
        stores = {"cache": repo.cache.local}
        for name in repo.config["remote"]:
            stores[f"remote {name}"] = _remote(repo, name)
        for place, store in stores.items():
            found = set(store.all()) if store.fs.exists(store.path) else set()
            gone = to_remove(store, found, target, judged)
            for oid in sorted(gone, key=lambda oid: not oid.endswith(".dir")):  # lists first: they name what goes
                store.delete(oid)
            removed[place] = len(gone)
    return removed


def _remote(repo: Any, name: str) -> Any:
    from dvc.config import RemoteConfigError

    try:
        return repo.cloud.get_remote_odb(name)
    except RemoteConfigError as error:
        raise ValueError(
            f"DVC remote {name}: {error}; it keeps old versions by itself: remove them with its own tools and the "
            "remote from .dvc/config, then run `perennial forget` again"
        ) from error


def to_remove(store: Any, found: set[str], target: Target, judged: dict[str, bool]) -> set[str]:
    """Which objects of a store are to go; `judged` keeps what is known of objects for the next store."""
    listings = {oid: _listing(store, oid) for oid in found if oid.endswith(".dir")}
    names: dict[str, set[str]] = {}
    for listing in listings.values():
        for oid, name in listing.files:
            names.setdefault(oid, set()).add(name)
    for oid in sorted(found - listings.keys() - judged.keys()):
        with _local(store, oid) as path:
            judged[oid] = any(_holds(path, name, target) for name in names.get(oid, {""}))
    holding = {oid for oid, holds in judged.items() if holds}
    hit = {
        oid
        for oid, listing in listings.items()
        if any(file in holding or _file_name(name) in target.keys for file, name in listing.files)
    }
    made = {file for oid in hit if listings[oid].of_a_stage for file, _ in listings[oid].files}
    kept = {
        file
        for oid, listing in listings.items()
        if oid not in hit or not listing.of_a_stage
        for file, _ in listing.files
    }
    return (holding | hit | (made - kept)) & found


def _listing(store: Any, oid: str) -> _Listing:
    with store.fs.open(store.oid_to_path(oid), "rb") as file:
        return _Listing([(row["md5"], row["relpath"]) for row in json.loads(file.read())])


class _local:  # noqa: N801 (used as a function)
    """An object as a file of this machine, while it is looked at."""

    def __init__(self, store: Any, oid: str) -> None:
        self._store, self._path = store, store.oid_to_path(oid)
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Path:
        if self._store.fs.protocol in {"local", "file"}:
            return Path(self._path)
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "object"
        self._store.fs.get_file(self._path, str(path))
        return path

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def _file_name(name: str) -> str:
    match = LANDED.match(name)
    return match[1] if match else name


def _holds(path: Path, name: str, target: Target) -> bool:
    """Whether a file holds one of the documents; without a name: it may be anything."""
    landed = LANDED.match(name)
    if landed or not name:
        file = landed[1] if landed else ""
        for record in seen(path, file):
            known = record.key if file or record.line > 1 else None  # a whole file's key is its name
            if target.document(known, record.content) or (record.key is None and target.text(record.text)):
                return True
        if landed:
            return False
    if name.endswith(".jsonl") or not name:
        return any(target.row(row) or target.without(row) != row for row in _rows(path))
    return path.stat().st_size <= MOST_BYTES and target.scrubbed(name, path.read_bytes()) is not None


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            try:
                row = orjson.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row


def point_anew(root: Path) -> None:
    """Let DVC's pointers name what is there: the landings, the tombstones, and the stages that are still made."""
    if not (root / ".dvc").is_dir():
        return
    _forget_stages(root)
    tasks = [path.name for path in sorted((root / landing.LANDING).iterdir()) if path.is_dir()]
    versioning.add_landings(root, tasks)
    with versioning.repository(root) as repo:
        repo.add([str(root / TOMBSTONES)])
        versioning.push(root, repo)


def _forget_stages(root: Path) -> None:
    """Take the stages whose folders are gone out of `dvc.lock`."""
    path = root / "dvc.lock"
    if not path.exists():
        return
    lock = yaml.safe_load(path.read_text(encoding="utf-8"))
    stages = lock.get("stages", {})
    gone = [name for name, stage in stages.items() if not _made(root, stage.get("outs", []))]
    if gone:
        lock["stages"] = {name: stage for name, stage in stages.items() if name not in gone}
        path.write_text(yaml.safe_dump(lock, sort_keys=False), encoding="utf-8")


def _made(root: Path, outs: Sequence[dict[str, Any]]) -> bool:
    return all((root / out["path"]).exists() for out in outs)
