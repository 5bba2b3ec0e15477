"""The rest of a workspace: stages that held a document are made again; caches, pages, logs and databases lose it."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.edge.forget.places import clear_stages, scrub_databases, scrub_hidden, scrub_ledger
from pipelines.edge.forget.target import REMOVED, Target, runs_of
from pipelines.edge.home import Home
from steps.core.shards import read_lines, write_json, write_lines
from tests.workspaces import workspace

TEXT = "the quick brown fox jumps over the lazy dog and runs away"
TARGET = Target(
    keys=frozenset({"page/1"}), contents=frozenset({"c" * 64}), items=frozenset({"i1"}), runs=runs_of([TEXT])
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return workspace(tmp_path, documents=2)


def stage(home: Home, name: str, **files: list[dict[str, object]]) -> Path:
    folder = home.root / "data" / name
    for file, rows in files.items():
        write_lines(folder / f"{file}.jsonl", rows)  # type: ignore[arg-type]
    write_json(folder / "record.json", {})
    return folder


def test_a_stage_that_held_it_is_made_again_and_the_others_stay(home: Home) -> None:
    clean = stage(home, "clean", dropped=[{"key": "page/1", "reason": "r"}])
    twin = stage(home, "select", documents=[{"key": "b", "text": f"another that says {TEXT}"}])
    one, other = stage(home, "ingest/types", documents=[{"key": "page/1"}]), stage(home, "ingest/general")
    shown = stage(home, "gate", items=[{"found": f"it says {TEXT}"}])
    assert clear_stages(home, TARGET) == ["clean", "gate", "ingest/types"]
    assert [path.exists() for path in (clean, one, shown, twin, other)] == [False, False, False, True, True]
    assert (home.root / "data/landing/types").exists()


def test_the_cache_of_scores_loses_its_items_and_keeps_the_others(home: Home) -> None:
    scores = [{"source": "m", "items": [{"item": "i1"}, {"item": "i2"}], "samples": {"i1": "x", "i2": "y"}}]
    folder = stage(home, "evaluate/abc", scores=scores, items=[{"document": "page/1"}, {"document": "b"}])
    assert clear_stages(home, TARGET) == []
    assert list(read_lines(folder / "scores.jsonl")) == [
        {"source": "m", "items": [{"item": "i2"}], "samples": {"i2": "y"}}
    ]
    assert list(read_lines(folder / "items.jsonl")) == [{"document": "b"}]
    assert not (folder / "record.json").exists()


def test_the_ledger_keeps_its_events(home: Home) -> None:
    home.record("verdict", outcome={"samples": {"types": [f"{TEXT} → x", "other"]}})
    home.record("hold", task="types")
    assert scrub_ledger(home, TARGET)
    assert not scrub_ledger(home, TARGET)
    first, second = home.ledger()
    assert first["outcome"] == {"samples": {"types": [REMOVED, "other"]}}
    assert second["event"] == "hold"


def test_pages_and_logs_lose_it_and_what_others_keep_is_left_to_them(home: Home) -> None:
    for name in ("data-docs/a.html", "service/logs/x.log", "mlflow/1/a.txt", "dvc-remote/files/md5/ab/cd"):
        (home.hidden / name).parent.mkdir(parents=True, exist_ok=True)
        (home.hidden / name).write_text(f"<p>a</p>\n<p>{TEXT}</p>\n")
    assert scrub_hidden(home, TARGET) == 2
    assert "quick" not in (home.hidden / "data-docs/a.html").read_text()
    assert (home.hidden / "service/logs/x.log").read_text() == f"<p>a</p>\n{REMOVED}\n"
    assert "quick" in (home.hidden / "mlflow/1/a.txt").read_text()


def test_a_database_loses_it_also_where_it_was_deleted_before(home: Home) -> None:
    path = home.hidden / "prefect" / "prefect.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE artifact (id INTEGER PRIMARY KEY, data JSON, description VARCHAR)")
        database.execute("INSERT INTO artifact VALUES (1, ?, ?)", (json.dumps({"a": TEXT, "b": 1}), f"# x\n{TEXT}\ny"))
        database.executemany("INSERT INTO artifact VALUES (?, NULL, ?)", [(n, f"{TEXT} {n}") for n in range(2, 99)])
        database.execute("DELETE FROM artifact WHERE id > 1")
        database.commit()
    assert scrub_databases(home, TARGET) == 2
    assert b"quick" not in path.read_bytes()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT data, description FROM artifact").fetchall() == [
            (json.dumps({"a": REMOVED, "b": 1}), f"# x\n{REMOVED}\ny")
        ]


def test_a_pilot_that_was_cut_off_goes_alone_and_what_was_learned_stays(home: Home) -> None:
    cut_off = stage(home, "pilots/0123456789abcdef/mix", used=[{"key": "page/1"}])
    done = stage(home, "pilots/fedcba9876543210", history=[{"step": 0}])
    plan = stage(home, "pilots/mine-abc", rows=[{"told": 1}])
    assert clear_stages(home, TARGET) == ["pilots/0123456789abcdef"]
    assert [path.exists() for path in (cut_off, done, plan)] == [False, True, True]
