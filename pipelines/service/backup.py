"""`perennial backup`: one file that holds what a workspace needs to go on, on this machine or another.

In it: settings, recipes, tasks, contracts, every landing, the state of versions, the ledger, runs and versions with
their weights. Left out: what a refresh makes again (the stages' folders, DVC's cache and remote), logs, locks, and a
base model that an installed package holds. Identical files are stored once for each of their paths.
"""

import contextlib
import gzip
import hashlib
import io
import os
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

from pydantic import Field

from pipelines.edge import landing
from pipelines.edge.base_models import CACHE, resolve_base
from pipelines.edge.home import Home
from pipelines.edge.passwords import without_password
from pipelines.edge.session import Progress
from pipelines.recipe import find_recipe
from steps.core.artifacts import Frozen

FORMAT = 1
MANIFEST = "backup.json"  # the archive's last member
DATABASE = ".perennial/mlflow.db"
PREFECT_DATABASE = ".perennial/prefect/prefect.db"
REMOTE = ".perennial/dvc-remote"
PARTS = (  # files and folders of a workspace, and patterns
    "*.yaml",
    "*.yml",
    "dvc.lock",
    ".dvcignore",
    ".gitignore",
    ".dvc/config",  # config.local, where DVC keeps passwords, stays behind
    ".dvc/.gitignore",
    "data/*.*",
    "data/contracts",
    "data/suites",
    "data/landing",
    "data/pilots/*/*.*",  # what pilots showed and the fits that recipes name, not text or weights of one under way
    "data/state",
    ".perennial/mlflow",
    ".perennial/models",
    ".perennial/data-docs",
    ".perennial/service/inbox.json",
    ".perennial/service/landed.json",
)


class Stored(Frozen):
    """One file of a backup."""

    sha256: str
    bytes: int


class Base(Frozen):
    """A base model that is made again, and must come out the same."""

    address: str
    digest: str


class Manifest(Frozen):
    """What a backup holds; a restore trusts nothing that it does not find here."""

    format: int = FORMAT
    workspace: str
    root: str = Field(description="where the workspace was; places inside MLflow's database start with it")
    made: str
    perennial: str
    files: dict[str, Stored]
    bases: dict[str, Base] = Field(description="left out, by folder")
    notes: tuple[str, ...]


class Summary(Frozen):
    """What a backup or a restore did."""

    path: str
    workspace: str
    files: int
    bytes: int
    archive_bytes: int
    seconds: float
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest, path: Path, archive: Path, started: float, notes: Iterable[str]) -> "Summary":
        """What was done to a path with an archive, since a moment of the monotonic clock."""
        return cls(
            path=str(path),
            workspace=manifest.workspace,
            files=len(manifest.files),
            bytes=sum(stored.bytes for stored in manifest.files.values()),
            archive_bytes=archive.stat().st_size,
            seconds=round(time.monotonic() - started, 1),
            notes=tuple(notes),
        )


def backup(
    home: Home, target: Path, *, wait: float = 0.0, prefect: bool = False, progress: Progress | None = None
) -> Summary:
    """Write the workspace's backup, whole or not at all; refreshes wait meanwhile.

    `prefect` takes Prefect's database along: its runs, and its blocks, whose secrets it can decrypt.

    Raises:
        Busy: a refresh holds the workspace for longer than the wait, in seconds.
        ValueError: there is a file already at the target.
    """
    started = time.monotonic()
    if target.exists():
        raise ValueError(f"{target}: exists already; nothing was written: name another file")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    with home.lock(wait), tempfile.TemporaryDirectory(prefix=".backup-", dir=target.parent) as folder:
        try:
            with partial.open("wb") as file:
                manifest = _write(home, file, Path(folder), prefect, progress or (lambda *_: None))
                file.flush()
                os.fsync(file.fileno())
            partial.rename(target)
        finally:
            partial.unlink(missing_ok=True)
    return Summary.of(manifest, target, target, started, manifest.notes)


def _write(home: Home, file: BinaryIO, scratch: Path, prefect: bool, progress: Progress) -> Manifest:
    sources, bases = _sources(home), _rebuilt(home)
    sources = {name: path for name, path in sources.items() if not name.startswith(tuple(f"{base}/" for base in bases))}
    notes = list(_notes(home))
    if gaps := _gaps(home):
        notes.append(f"landings that are only on the DVC remote: {', '.join(gaps)}")
        if (home.root / REMOTE).is_dir():
            sources |= dict(_walk(home.root, home.root / REMOTE))
    for name in (DATABASE, *([PREFECT_DATABASE] if prefect else [])):
        if (home.root / name).exists():
            sources[name] = _copied(home.root / name, scratch / Path(name).name)
    total, done = sum(path.stat().st_size for path in sources.values()), 0
    files: dict[str, Stored] = {}
    with (
        contextlib.closing(_Packer(file)) as packer,
        tarfile.open(fileobj=packer, mode="w|", format=tarfile.PAX_FORMAT) as archive,  # type: ignore[call-overload]
    ):
        for name, path in sorted(sources.items()):
            progress("backup", done, total, "bytes")
            packer.level = 0 if path.suffix == ".safetensors" else 6  # weights do not compress
            files[name] = _add(archive, name, path)
            done += files[name].bytes
        manifest = Manifest(
            workspace=home.settings.name,
            root=str(home.root),
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            perennial=version("perennial"),
            files=files,
            bases=bases,
            notes=tuple(notes),
        )
        content = manifest.model_dump_json(indent=1).encode()
        member = tarfile.TarInfo(MANIFEST)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
        progress("backup", total, total, "bytes")
    return manifest


def _sources(home: Home) -> dict[str, Path]:
    """The files to store, by their names in the archive."""
    found: dict[str, Path] = {}
    for part in PARTS:
        for path in sorted(home.root.glob(part)):
            found |= dict(_walk(home.root, path))
    settings = home.settings
    for name in {settings.recipe, *(each.recipe or "" for each in settings.schedules.values())}:
        with contextlib.suppress(ValueError):  # a recipe that is missing is told of by whoever runs it
            recipe = find_recipe(name, home.root).absolute()
            if recipe.is_relative_to(home.root):
                found[recipe.relative_to(home.root).as_posix()] = recipe
    return {name: path for name, path in found.items() if not name.startswith(f"{CACHE}/version-")}


def _walk(root: Path, top: Path) -> Iterator[tuple[str, Path]]:
    """The files at or below a path. Links are followed: a data folder may lie on another disk."""
    if top.is_file() and not _unfinished(top.name):
        yield top.relative_to(root).as_posix(), top
        return
    seen: set[str] = set()
    for folder, folders, names in os.walk(top, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            folders.clear()  # a link to a folder above
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not _unfinished(name)]
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not _unfinished(name):
                yield path.relative_to(root).as_posix(), path


def _unfinished(name: str) -> bool:
    return name.startswith(landing.PARTIAL) or (name.startswith(".") and name.endswith((".partial", ".lock", ".tmp")))


def _add(archive: tarfile.TarFile, name: str, path: Path) -> Stored:
    """Store one file, as long as it is now: a ledger may grow while it is read."""
    with path.open("rb") as file:
        facts = os.fstat(file.fileno())
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = facts.st_size, facts.st_mtime, facts.st_mode & 0o777
        hashing = _Hashing(file)
        archive.addfile(member, hashing)  # type: ignore[arg-type]  # all it does with it is read
    return Stored(sha256=hashing.sha256.hexdigest(), bytes=facts.st_size)


class _Packer:
    """Gzip whose level may change on the way: a file of several members, which any reader takes as one."""

    def __init__(self, file: BinaryIO) -> None:
        self.level = 6
        self._file = file
        self._member: gzip.GzipFile | None = None
        self._at = self.level

    def write(self, chunk: bytes) -> int:
        """Pack some more."""
        if self._member is None or self._at != self.level:
            self.close()
            self._at = self.level
            self._member = gzip.GzipFile("", "wb", self._at, self._file, mtime=0)
        return self._member.write(chunk)

    def close(self) -> None:
        """End the last member."""
        if self._member is not None:
            self._member.close()


class _Hashing:
    """A file whose digest is known once it was read."""

    def __init__(self, file: BinaryIO) -> None:
        self.sha256 = hashlib.sha256()
        self._file = file

    def read(self, size: int) -> bytes:
        """Some more of it."""
        chunk = self._file.read(size)
        self.sha256.update(chunk)
        return chunk


def _copied(database: Path, copy: Path) -> Path:
    """A copy of an SQLite database as of one moment, whoever writes to it meanwhile."""
    with (
        contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=60.0)) as reading,
        contextlib.closing(sqlite3.connect(copy)) as writing,
    ):
        reading.backup(writing)
    return copy


def _rebuilt(home: Home) -> dict[str, Base]:
    """The base models that an installed package holds, by folder: half a gigabyte that need not be stored."""
    bases = {}
    for address in _query(home, "SELECT DISTINCT value FROM model_version_tags WHERE key = 'perennial.base'"):
        if address.startswith("pypi:"):
            with contextlib.suppress(ValueError):  # the package is gone: what was made of it is stored
                model = resolve_base(home.root, address)
                bases[model.path] = Base(address=address, digest=model.digest)
    return bases


def _notes(home: Home) -> Iterator[str]:
    """What is elsewhere, and needs a backup of its own."""
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    own = home.settings.name in _query(home, "SELECT name FROM experiments")
    if server.startswith("http") and not own:
        yield (
            f"runs and versions, with their weights, are on the MLflow server {without_password(server)}: they are "
            "not in here; back up its database and its store with their own tools"
        )


def _query(home: Home, question: str) -> Iterable[str]:
    database = home.root / DATABASE
    if not database.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=60.0)) as connection:
        try:
            return [str(row[0]) for row in connection.execute(question)]
        except sqlite3.OperationalError:  # a database that MLflow has not filled yet
            return []


def _gaps(home: Home) -> list[str]:
    """Tasks that miss a batch in their folder: batches are numbered, and no number is used twice."""
    gaps = []
    for task in landing.load_tasks(home.root):
        folders = (home.root / landing.LANDING / task).glob("*")
        numbers = {int(match[1]) for folder in folders if (match := landing.BATCH_NAME.match(folder.name))}
        if len(numbers) < max(numbers, default=0):
            gaps.append(task)
    return gaps
