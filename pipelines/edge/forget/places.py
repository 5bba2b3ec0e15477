"""The rest of a workspace without documents: stages' folders, the ledger, pages, logs, small databases."""

import contextlib
import fcntl
import json
import logging
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pipelines.edge import landing
from pipelines.edge.forget.segments import STATE
from pipelines.edge.forget.stores import WEIGHTS
from pipelines.edge.forget.target import Target
from pipelines.edge.home import Home
from pipelines.edge.stages import KEEPS
from steps.core.shards import read_lines, write_atomic

logger = logging.getLogger(__name__)
JOURNAL = "forget.json"  # of a deletion under way, in .perennial/
ELSEWHERE = ("mlflow/", "dvc-remote/", JOURNAL, "lock", "ray/")  # below .perennial/; others see to them
OBJECTS = "files/md5/"  # of a DVC remote that lies here
MOST_BYTES = 2**28  # of a log


def clear_stages(home: Home, target: Target) -> list[str]:
    """Remove the folders of stages that hold documents, so that they are made again; caches lose what was of them."""
    gone = []
    for folder in _stage_folders(home.root):
        name = folder.relative_to(home.root / "data").as_posix()
        if name.split("/")[0] in KEEPS:
            _scrub_folder(folder, target)
        elif any(_shows(path, target) for path in sorted(folder.rglob("*")) if path.is_file()):
            shutil.rmtree(folder)
            gone.append(name)
    return gone


def _stage_folders(root: Path) -> list[Path]:
    """Every folder with a record, and what a crash left without one."""
    data = root / "data"
    kept = {root / landing.LANDING, root / STATE, data / "contracts"}
    found = []
    for stage in sorted(path for path in data.iterdir() if path.is_dir() and path not in kept):
        parts = [path for path in sorted(stage.iterdir()) if path.is_dir()]
        split = stage.name in {"ingest", "pilots", *KEEPS} and not (stage / "record.json").exists()
        found += parts if split else [stage]
    return found


def _shows(path: Path, target: Target) -> bool:
    if path.suffix == ".jsonl":
        return any(target.row(row) or target.without(row) != row for row in read_lines(path))
    return path.stat().st_size <= MOST_BYTES and target.scrubbed(path.name, path.read_bytes()) is not None


def _scrub_folder(folder: Path, target: Target) -> None:
    """Take documents out of a cache; what is made of it is made again."""
    hit = [path for path in sorted(folder.rglob("*")) if path.is_file() and _scrub_file(path, target)]
    if hit:
        (folder / "record.json").unlink(missing_ok=True)


def _scrub_file(path: Path, target: Target) -> bool:
    if path.suffix in WEIGHTS or path.is_symlink() or path.stat().st_size > MOST_BYTES:
        return False
    after = target.scrubbed(path.name, path.read_bytes())
    if after is not None and path.suffix == ".log":
        path.write_bytes(after)  # whoever writes it goes on with the same file
    elif after is not None:
        write_atomic(path, after)
    return after is not None


def scrub_hidden(home: Home, target: Target) -> int:
    """Take documents out of the pages, logs and notes below `.perennial/`; returns how many files changed."""
    changed = 0
    for path in sorted(home.hidden.rglob("*")):
        name = path.relative_to(home.hidden).as_posix()
        ours = not name.startswith(ELSEWHERE) and OBJECTS not in name and ".db" not in path.suffix
        if path.is_file() and ours:
            changed += _scrub_file(path, target)
    return changed


def scrub_ledger(home: Home, target: Target) -> bool:
    """Take samples and messages that show documents out of the ledger; its events stay."""
    if not home.ledger_file.exists():
        return False
    with home.ledger_file.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # whoever appends waits
        after = target.scrubbed(home.ledger_file.name, file.read())
        if after is not None:
            write_atomic(home.ledger_file, after)
    return after is not None


def scrub_databases(home: Home, target: Target) -> int:
    """Take documents out of the text of local databases, and what was deleted in them off the disk."""
    changed = 0
    for path in (home.hidden / "mlflow.db", home.hidden / "prefect" / "prefect.db"):
        if path.exists():
            with contextlib.closing(sqlite3.connect(path, timeout=60.0, isolation_level=None)) as database:
                changed += _scrub_database(database, target)
                database.execute("VACUUM")
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return changed


def _scrub_database(database: sqlite3.Connection, target: Target) -> int:
    changed = 0
    for table, column in list(_columns(database)):
        place = f'"{table}" WHERE typeof("{column}") = \'text\''
        rows = database.execute(f'SELECT DISTINCT "{column}" FROM {place}').fetchall()  # noqa: S608 (names of its own)
        for (text,) in rows:
            after = _said(target, text)
            if after != text:
                database.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE "{column}" = ?', (after, text))  # noqa: S608
                changed += 1
    return changed


def _columns(database: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    for (table,) in database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE '%VIRTUAL%'"
    ):
        for _, column, kind, *_ in database.execute(f'PRAGMA table_info("{table}")'):
            if "CHAR" in kind.upper() or kind.upper() in {"TEXT", "JSON", "CLOB", "BLOB"}:
                yield table, column


def _said(target: Target, text: str) -> str:
    """A text of a database; JSON stays JSON."""
    kind = "json" if text[:1] in {"{", "["} else "md"
    after = target.scrubbed(f"text.{kind}", text.encode("utf-8", "surrogatepass"))
    if after is None:
        return text
    said = after.decode("utf-8", "surrogatepass")
    return json.dumps(json.loads(said)) if kind == "json" else said
