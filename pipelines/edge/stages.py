"""What a stage is called: its key for machines, its title for people, its place in the score."""

from pathlib import Path
from typing import Any

from steps.core.artifacts import Model, Version
from steps.gate import REFERENCES

STAGES = (
    *("ingest", "split", "clean", "select", "plan", "mix"),
    *("train", "merge", "evaluate", "gate", "compare", "replay"),
)
REPAIR = "repair"  # the part of the score after gate that makes merge, evaluate and gate a second time
KEEPS = {"evaluate"}  # its folder belongs to one model and is a cache by item
ON_DEVICE = {"train", "merge", "evaluate", "compare"}  # what takes long, and what a device hour is counted in


def key_of(stage: str, folder: Path) -> str:
    """`clean`, or `ingest/python-docs` where a stage runs for several tasks or models."""
    return stage if folder.name == stage else f"{stage}/{folder.name}"


def title_of(stage: str, folder: Path, artifacts: tuple[Any, ...], parent: Version, part: str = "") -> str:
    """`clean`, `ingest python-docs`, `evaluate candidate`; of a part of the score `evaluate candidate, repair`."""
    if folder.name == stage:
        return stage
    return f"{stage} {whose(artifacts[0], parent, part) if stage in KEEPS else folder.name}"


def whose(model: Model, parent: Version, part: str = "") -> str:
    """Which model it is in a refresh of a version."""
    if model.digest == parent.model.digest:
        return parent.name if parent.name == "base" else f"champion, version {parent.name}"
    pinned = dict(zip((each.digest for each in parent.references), REFERENCES, strict=False))
    return pinned.get(model.digest, f"candidate, {part}" if part else "candidate")


def numbered(title: str) -> str:
    """A title with its stage's place in the score: `3 clean`."""
    return f"{(*STAGES, 'conclude').index(title.partition(' ')[0]) + 1} {title}"
