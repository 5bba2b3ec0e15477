"""`perennial restore`: makes a workspace of a backup, in a new folder; checks every byte before it moves one in.

A backup holds code (how a version is served) and settings (who is told): restore only what you trust. The checksums
find damage, they prove no author.
"""

import contextlib
import gzip
import hashlib
import os
import shutil
import sqlite3
import tarfile
import time
import zlib
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from pipelines.edge.base_models import resolve_base
from pipelines.edge.session import Progress
from pipelines.service.backup import DATABASE, FORMAT, MANIFEST, Base, Manifest, Stored, Summary

STAGING = ".restoring"
CHUNK = 2**20
MAX_MANIFEST_BYTES = 2**28


def restore(archive: Path, folder: Path, progress: Progress | None = None) -> Summary:
    """Make the workspace of a backup in a folder that is new or empty.

    Raises:
        ValueError: the folder holds something, or the file is damaged or no backup; nothing was moved into place.
    """
    started = time.monotonic()
    folder = folder.resolve()
    staging = folder / STAGING
    if folder.exists() and (not folder.is_dir() or any(path != staging for path in folder.iterdir())):
        raise ValueError(f"{folder}: wanted a new or empty folder; nothing was restored")
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    shutil.rmtree(staging, ignore_errors=True)  # of a restore that was killed
    staging.mkdir(parents=True)
    try:
        manifest = _unpack(archive, staging, progress or (lambda *_: None))
        _relocate(staging / DATABASE, Path(manifest.root), folder)
        notes = [*manifest.notes, *_rebuild(staging, manifest.bases)]
        for path in sorted(staging.iterdir()):
            path.rename(folder / path.name)
        staging.rmdir()
    except BaseException:
        shutil.rmtree(made[-1] if made else staging, ignore_errors=True)
        raise
    return Summary.of(manifest, folder, archive, started, notes)


def _unpack(archive: Path, staging: Path, progress: Progress) -> Manifest:
    """Unpack into an empty folder, and compare what came out with the manifest."""
    found: dict[str, Stored] = {}
    content = b""
    try:
        with (
            archive.open("rb") as file,
            gzip.GzipFile(fileobj=file) as stream,
            tarfile.open(fileobj=stream, mode="r|") as members,
        ):
            size = archive.stat().st_size
            for member in members:
                progress("restore", file.tell(), size, "bytes")
                _check(archive, member, staging, found)
                if member.name == MANIFEST:
                    if member.size > MAX_MANIFEST_BYTES:
                        raise ValueError(f"{archive}: its manifest has {member.size:,} bytes; no backup")
                    extracted = members.extractfile(member)
                    content = extracted.read() if extracted else b""
                else:
                    found[member.name] = _extract(members, member, staging)
            while stream.read(CHUNK):  # to the end, where the checksum over everything is
                pass
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the disk is full, the file cannot be read: not the archive's fault
        raise ValueError(f"{archive}: damaged, or no backup ({error}); nothing was restored") from error
    if not content:
        raise ValueError(f"{archive}: no {MANIFEST} in it: cut short, or no backup; nothing was restored")
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(f"{archive}: its {MANIFEST} is none of ours; nothing was restored") from error
    if manifest.format != FORMAT:
        raise ValueError(
            f"{archive}: wanted format {FORMAT}, found {manifest.format}; use perennial {manifest.perennial}"
        )
    wrong = sorted(name for name in {*found, *manifest.files} if found.get(name) != manifest.files.get(name))
    if wrong:
        raise ValueError(f"{archive}: damaged: {', '.join(wrong[:5])} differ from its {MANIFEST}; nothing was restored")
    return manifest


def _check(archive: Path, member: tarfile.TarInfo, staging: Path, found: dict[str, Stored]) -> None:
    """Refuse whatever is no plain file inside the folder."""
    name = PurePosixPath(member.name)
    outside = name.is_absolute() or ".." in name.parts or name.as_posix() != member.name or "\\" in member.name
    if outside or not member.isreg() or member.name in found or STAGING in name.parts:
        raise ValueError(f"{archive}: member {member.name!r} is no plain file inside the folder; nothing was restored")
    tarfile.data_filter(member, str(staging))  # the standard library's own opinion


def _extract(members: tarfile.TarFile, member: tarfile.TarInfo, staging: Path) -> Stored:
    path, sha256, size = staging / member.name, hashlib.sha256(), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    reading = members.extractfile(member)
    assert reading is not None, "a plain file"
    with path.open("xb") as writing:
        while chunk := reading.read(CHUNK):
            sha256.update(chunk)
            writing.write(chunk)
            size += len(chunk)
    path.chmod(0o600 | (member.mode & 0o755))
    os.utime(path, (member.mtime, member.mtime))
    return Stored(sha256=sha256.hexdigest(), bytes=size)


def _relocate(database: Path, before: Path, after: Path) -> None:
    """Let the places that MLflow's database names lie in the new folder, in whatever table they are."""
    if before == after or not database.exists():
        return
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for _, column, kind, *_ in connection.execute("SELECT * FROM pragma_table_info(?)", (table,)).fetchall():
                if str(kind).upper().startswith(("VARCHAR", "TEXT", "CHAR")):
                    # names cannot be parameters; these are the database's own, and quoted
                    t, c = (f'"{name.replace(chr(34), chr(34) * 2)}"' for name in (table, column))
                    moved = f"UPDATE {t} SET {c} = replace({c}, ?1, ?2) WHERE instr({c}, ?1) > 0"  # noqa: S608
                    connection.execute(moved, [f"{place.as_uri()}/.perennial/" for place in (before, after)])
                    moved = f"UPDATE {t} SET {c} = ?2 || substr({c}, length(?1) + 1) WHERE instr({c}, ?1) = 1"  # noqa: S608
                    connection.execute(moved, [f"{place}/.perennial/" for place in (before, after)])


def _rebuild(root: Path, bases: dict[str, Base]) -> list[str]:
    """Make the base models that were left out, which must come out the same; returns what could not be made."""
    notes = []
    for place, base in bases.items():
        try:
            model = resolve_base(root, base.address)
        except ValueError as error:
            notes.append(f"{place} is missing and the next refresh needs it: {error}; then `perennial doctor`")
            continue
        if (model.path, model.digest) != (place, base.digest):
            notes.append(
                f"{base.address} is not what this line began with (wanted {place} {base.digest[:12]}, found "
                f"{model.path} {model.digest[:12]}): install the version that it had"
            )
    return notes
