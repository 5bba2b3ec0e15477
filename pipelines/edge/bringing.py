"""What a version was made from, brought to this workspace: landings and state from the DVC remote, by their hashes."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pipelines.edge import landing, versioning
from pipelines.edge.facts import DVC
from pipelines.edge.home import Home
from pipelines.edge.registry import Registered, Registry
from pipelines.edge.session import Inputs
from pipelines.edge.versioning import Wanted
from steps.core.artifacts import Batch, Segment
from steps.core.state import digest_of_folder

MAKES_STATE = ("split", "clean", "replay")  # the stages that write a segment each
LOCK = "lineage/dvc.lock"


def bring_inputs(home: Home, registry: Registry, version: Registered, inputs: Inputs) -> None:
    """Let everything that a version was made from, but models, lie in this workspace.

    Raises:
        ValueError: something is neither here nor on the DVC remote.
    """
    for task, part in inputs.landed.items():
        missing = [batch for batch in part.batches if not (home.root / batch.path / "manifest.json").exists()]
        if missing:
            _bring_batches(home, version, task, missing)
    parent = inputs.parent
    segments = (*parent.buffer.segments, *parent.index.segments, *parent.holdout.segments)
    wanted = {segment.digest: segment for segment in segments if not (home.root / segment.path).is_dir()}
    if wanted:
        _bring_segments(home, registry, version, wanted)


def _bring_batches(home: Home, version: Registered, task: str, missing: list[Batch]) -> None:
    md5, problem = version.tags.get(f"{DVC}{task}"), None
    try:
        if md5:
            versioning.bring(home.root, [Wanted(md5, batch.name, home.root / batch.path) for batch in missing])
    except ValueError as error:  # rewritten since, as `forget` does: Git has the hash of what is left
        problem = error
    there = {batch.name: batch for batch in landing.batches(home.root, task)}
    if any(batch.name not in there for batch in missing):
        try:
            versioning.fetch_landing(home.root, task)
        except Exception as error:  # every kind of remote raises errors of its own
            raise problem or ValueError(f"{task}: its landings cannot be brought here: {error}") from error
        there = {batch.name: batch for batch in landing.batches(home.root, task)}
    for batch in missing:
        if batch.name not in there:
            raise ValueError(f"{batch.path}: this landing is gone, here and on the DVC remote; bring it back")
        if there[batch.name].digest != batch.digest:
            raise ValueError(
                f"{batch.path}: wanted the landing {batch.digest[:12]}, found {there[batch.name].digest[:12]}; it was "
                "rewritten since"
            )


def _bring_segments(home: Home, registry: Registry, version: Registered, wanted: dict[str, Segment]) -> None:
    """Bring segments out of what the refreshes that made them pushed, the newest first."""
    waiting = dict(wanted)
    for ancestor in ancestors(registry, version):
        if not waiting:
            return
        for digest, md5, below in _made(registry, ancestor):
            if digest in waiting:
                _bring_segment(home, waiting.pop(digest), md5, below)
    if waiting:
        segment = next(iter(waiting.values()))
        raise ValueError(
            f"{segment.path}: this part of the parent's state is neither here nor named by the run of a version before "
            f"{version.number}; bring the workspace's data/state back, or restore a backup"
        )


def ancestors(registry: Registry, version: Registered) -> Iterator[Registered]:
    """The versions that a version descends from, its parent first."""
    known = {each.number: each for each in registry.versions()}
    number = version.tags.get("perennial.parent", "")
    for _ in known:
        if number not in known:
            return
        yield known[number]
        number = known[number].tags.get("perennial.parent", "")


def _made(registry: Registry, version: Registered) -> Iterator[tuple[str, str, str]]:
    """The segments that a version's refresh made: digest, DVC's hash of the stage's folder, path in that folder."""
    lock = registry.logged(version, LOCK)
    stages = yaml.safe_load(lock)["stages"] if lock else {}
    for stage in MAKES_STATE:
        record = registry.logged(version, f"records/{stage}/record.json")
        outs = stages.get(stage, {}).get("outs", [])
        if record is None or not outs:
            continue
        for segment in _segments(json.loads(record)):
            inside = f"{outs[0]['path']}/"
            if segment["path"].startswith(inside):
                yield segment["digest"], outs[0]["md5"], segment["path"].removeprefix(inside)


def _segments(value: Any) -> Iterator[dict[str, str]]:
    if isinstance(value, dict):
        for name, part in value.items():
            if name == "segments":
                yield from part
            else:
                yield from _segments(part)


def _bring_segment(home: Home, segment: Segment, md5: str, below: str) -> None:
    place: Path = home.root / segment.path
    partial = place.with_name(f".{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    versioning.bring(home.root, [Wanted(md5, below, partial)])
    found = digest_of_folder(partial)
    if found != segment.digest:
        raise ValueError(f"{segment.path}: wanted the state {segment.digest[:12]}, the DVC remote gave {found[:12]}")
    partial.rename(place)
