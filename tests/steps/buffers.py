"""Refreshes of a buffer alone: documents are chosen by hand, evidence is made up, everything is written and read."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from steps.core.artifacts import Buffer, Chosen, TaskFacts
from steps.core.documents import row_of
from steps.core.method import from_recipe
from steps.core.shards import canonical_json
from steps.core.state import CountedDocument
from steps.core.workspace import Workspace
from steps.methods.replay import Evidence, Replay
from steps.replay import refilled
from tests.builders import build_document

TASKS = (TaskFacts(name="code"), TaskFacts(name="law"), TaskFacts(name="general", role="replay-only"))
METHODS: list[dict[str, Any]] = [
    {"method": "none"},
    {"method": "reservoir", "capacity": 20},
    {"method": "general", "capacity": 10},
    {"method": "balanced", "capacity": 20},
    {"method": "balanced", "capacity": 20, "by": "age"},
    {"method": "forgetting-weighted", "capacity": 20},
    {"method": "mix-cd", "capacity": 20, "probe_documents": 16},
]
NAMES = [" ".join(map(str, knobs.values())) for knobs in METHODS]


def method_of(knobs: dict[str, Any]) -> Replay:
    """The method of a recipe."""
    made: Replay = from_recipe("replay")(knobs)
    return made


def made_up(texts: Mapping[str, str]) -> Evidence:
    """Losses and rises that look random, and are the same for the same text."""

    def number(text: str) -> float:
        return zlib.crc32(text.encode()) % 1000 / 1000

    def losses(keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        before_N = np.array([number(texts[key]) for key in keys])
        return before_N, before_N + np.array([number(f"after {texts[key]}") - 0.5 for key in keys])

    return Evidence(rise=lambda: {"code": number("".join(sorted(texts))), "law": 0.1}, losses=losses)


def choose(
    workspace: Workspace, texts: Mapping[str, Mapping[str, str]], stale: Sequence[str] = (), place: str = "select"
) -> Chosen:
    """Chosen documents: task -> key -> text; a token is a character."""
    path = workspace.root / "data" / place
    for task in TASKS:
        documents = [
            CountedDocument(**build_document(key, text, task.name).model_dump(), num_tokens=len(text))
            for key, text in texts.get(task.name, {}).items()
        ]
        (path / task.name).mkdir(parents=True, exist_ok=True)
        lines = [canonical_json(row_of(document)) + "\n" for document in documents]
        (path / task.name / "documents.jsonl").write_text("".join(lines), encoding="utf-8")  # quickly: it need not last
    return Chosen(
        digest="chosen",
        path=workspace.relative(path),
        tasks=TASKS,
        num_documents={task: len(own) for task, own in texts.items()},
        num_tokens={task: sum(map(len, own.values())) for task, own in texts.items()},
        stale=tuple(stale),
    )


def fill(workspace: Workspace, method: Replay, chosen: Chosen, buffer: Buffer, place: str) -> Buffer:
    """The next buffer, its segment below `data/<place>`."""
    path = workspace.root / "data" / place
    return refilled(replace(workspace, path=path), method, chosen, buffer, made_up, {})
