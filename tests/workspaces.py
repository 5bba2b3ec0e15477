"""Small workspaces of real text for the tests of whole refreshes."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from pipelines.edge import landing
from pipelines.edge.home import Home
from pipelines.edge.outcome import Outcome
from pipelines.edge.session import Session
from pipelines.edge.workspaces import make_workspace
from pipelines.recipe import Recipe, find_recipe, load_recipe
from pipelines.refresh import refresh

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TASKS = {
    "statements": {"role": "train", "licence": "PSF-2.0"},
    "types": {"role": "train", "licence": "PSF-2.0"},
    "general": {"role": "replay-only", "licence": "PSF-2.0"},
}


@cache
def paragraphs() -> list[str]:
    """Real prose that any Python carries: the paragraphs of the language reference, in order, none twice."""
    from pydoc_data.topics import topics

    found = [part.strip() for text in topics.values() for part in text.split("\n\n")]
    return list(dict.fromkeys(part for part in found if 250 < len(part) < 1200))


def rows(task: str, first: int, count: int) -> list[dict[str, Any]]:
    """Documents of a task; each task has its own hundred paragraphs."""
    start = {"statements": 0, "types": 150, "general": 300}[task] + first
    return [{"key": f"{task}/{start + n}", "text": paragraphs()[start + n]} for n in range(count)]


def write_rows(path: Path, documents: Sequence[dict[str, Any]]) -> Path:
    """A JSONL file to land."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in documents), encoding="utf-8")
    return path


def land_rows(home: Home, task: str, documents: Sequence[dict[str, Any]]) -> str:
    """Land documents; returns the batch's name."""
    path = write_rows(home.hidden / "outbox" / f"{task}.jsonl", documents)
    batch = landing.land(home.root, task, [path], now=NOW)
    assert batch, "the same content landed before"
    return batch.name


def workspace(folder: Path, *, documents: int = 80) -> Home:
    """A workspace with three tasks, each with documents landed; nothing refreshed yet."""
    list(make_workspace(folder))
    (folder / "data" / "tasks.yaml").write_text(yaml.safe_dump({"tasks": TASKS}, sort_keys=False), encoding="utf-8")
    home = Home(folder)
    for task in TASKS:
        land_rows(home, task, rows(task, 0, documents))
    return home


NO_REPLAY = {"mixture": {"method": "fixed", "replay_share": 0.0}}


def tiny(**changes: Any) -> Recipe:
    """The tiny recipe, with knobs of its sections changed."""
    content = load_recipe(find_recipe("tiny", Path.cwd())).dump()
    for section, knobs in changes.items():
        content[section] = {**(content[section] or {}), **knobs} if isinstance(knobs, dict) else knobs
    return Recipe.model_validate(content)


def run(home: Home, recipe: Recipe | None = None, **options: Any) -> Outcome:
    """One refresh without Prefect, everything else real."""
    with home.lock():
        return refresh(Session(home, recipe or tiny(), prefect=False, **options))
