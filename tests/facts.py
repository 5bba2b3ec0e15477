"""The facts of a version, for the tests of what is told of it."""

from pathlib import Path
from typing import Any

from pipelines.edge.facts import Ancestor, Facts
from pipelines.edge.outcome import Outcome, TaskRow
from pipelines.edge.registry import Registry
from pipelines.edge.sources import Sources
from steps.core.artifacts import Comparison
from tests.pipelines.edge.forget.lines import line

GAINED = TaskRow(
    task="laws",
    role="train",
    before=3.0,
    after=2.5,
    change=-0.5,
    low=-0.6,
    high=-0.4,
    num_items=40,
    achieved_tokens=700,
    planned_tokens=700,
    landed=30,
    kept=20,
    held_out=6,
    dropped={"duplicate": 3},
    quarantined={"unreadable": 1},
)
LOST = TaskRow(
    task="general",
    role="replay-only",
    before=2.0,
    after=2.25,
    change=0.25,
    low=0.125,
    high=0.375,
    num_items=40,
    achieved_tokens=300,
    achieved_replay=300,
)
WORSE_THAN_BASE = Comparison(
    task="general",
    against="the base",
    kind="non-inferiority",
    outcome="pass",
    change=0.5,
    low=0.4,
    high=0.6,
    margin=0.7,
    p_value=0.01,
    num_items=40,
    num_documents=40,
    reason="",
)
OUTCOME = Outcome(
    kind="undecided",
    version="2",
    parent="1",
    reasons=("awaiting approval",),
    rows=(GAINED, LOST),
    comparisons=(WORSE_THAN_BASE,),
    tokens=1000,
    trained=("laws",),
    samples={"laws": ("a text that must not be shown", "nor this")},
)
SOURCES = Sources(
    new={"laws": {"CC0-1.0": 18, "unknown": 2}},
    replayed={"general": {"CC-BY-SA-4.0": 9}},
    languages={"en": 27, "und?": 2},
    datasets=("owner/laws",),
    line={"laws": {"CC0-1.0": 40, "unknown": 2}, "news": {"MIT": 5}},
    line_replayed={"general": ("CC-BY-SA-4.0",)},
)


def facts(**changes: Any) -> Facts:
    """Version 2 of a line of three."""
    found: dict[str, Any] = {
        "line": "mine",
        "version": "2",
        "verdict": "undecided",
        "created": "2026-01-02T03:04:05+00:00",
        "recipe_name": "default",
        "recipe": {"name": "default", "train": {"learning_rate": 0.001}},
        "fingerprint": "f" * 64,
        "seed": "20",
        "base": "owner/base@main",
        "base_licence": "apache-2.0",
        "code": "c" * 40,
        "code_digests": {"train": "t1", "mix": "m1"},
        "libraries": {"torch": "2.9.0", "numpy": "2.1.0"},
        "weights": "w" * 64,
        "num_parameters": 1234567,
        "parent": "1",
        "chain": (
            Ancestor(version="1", verdict="accepted", created="2026-01-01T00:00:00+00:00", recipe="default"),
            Ancestor(version="base"),
        ),
        "batches": {"laws": ("0001-aaaaaaaa", "0002-bbbbbbbb")},
        "landings": {"laws": "abc.dir"},
        "sources": SOURCES,
        "outcome": OUTCOME,
        "run": "run-2",
    }
    return Facts.model_validate(found | changes)


def known(folder: Path) -> Registry:
    """A line of two versions, whose runs logged how they ended."""
    registry = Registry(line(folder))
    for version in registry.versions():
        registry.client.log_dict(version.tags["perennial.run"], OUTCOME.model_dump(mode="json"), "outcome.json")
    return registry
