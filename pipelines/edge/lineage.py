"""Where a line begins, and the state that versions own."""

import gzip
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pipelines.edge.base_models import resolve_base
from pipelines.edge.forget.tombstones import hash_of
from pipelines.edge.home import Home
from pipelines.edge.registry import base_version
from steps.core.artifacts import Segment, State, TrainingState, Version
from steps.core.shards import canonical_json, digest_of, read_lines, write_atomic

USED = "used.jsonl.gz"  # in the lineage of a version's run
StateType = TypeVar("StateType", bound=State)
FORGOTTEN = "perennial.forgotten"  # tag of a version: how it knew documents that were forgotten since


def base_of(home: Home, address: str) -> Version:
    """The line before its first refresh.

    Raises:
        ValueError: the address names no model that can be loaded; the message says what would do.
    """
    local = str(_downloaded(home, address)) if address.startswith("models:/") else address
    return base_version(resolve_base(home.root, local))


def with_verdicts(home: Home, version: Version) -> Version:
    """A version whose history knows how many verdicts its hold-outs were used for since it was accepted.

    All that the workspace's ledger tells of, less those that the rows of the version's own line count: what was judged
    on another branch, and left, used the same items.
    """
    given: dict[str, int] = {}
    for event in home.ledger():
        if event["event"] == "verdict":
            given[event["attempt"]] = (event.get("outcome") or {}).get("verdicts", 1)
    since = sum(given.values()) - sum(row.verdicts for row in version.history.rows[1:])
    if since <= 0:
        return version
    digest = digest_of([version.history.digest, since])
    return version.model_copy(
        update={"history": version.history.model_copy(update={"digest": digest, "verdicts": since})}
    )


def _downloaded(home: Home, address: str) -> Path:
    """A model of an MLflow registry, downloaded once; the folder that transformers loads."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    from pipelines.edge.registry import use_tracking

    use_tracking(home)
    place = home.hidden / "models" / address.removeprefix("models:/").replace("/", "-").replace("@", "-at-")
    place.mkdir(parents=True, exist_ok=True)
    try:
        top = Path(download_artifacts(artifact_uri=address, dst_path=str(place)))
    except MlflowException as error:
        raise ValueError(f"base {address}: the registry has no such model: {error}") from error
    folders = sorted(file.parent for file in top.rglob("config.json") if any(file.parent.glob("*.safetensors")))
    if not folders:
        raise ValueError(f"base {address}: wanted config.json beside *.safetensors, found neither in {top}")
    return folders[0]


def adopt(home: Home, state: StateType) -> StateType:
    """Move a state's new segments to `data/state/<digest>/`, where they stay for good."""
    segments = []
    for segment in state.segments:
        place = home.root / "data" / "state" / segment.digest[:32]
        if not place.exists():
            partial = place.with_name(f".{place.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(home.root / segment.path, partial)
            partial.rename(place)
        segments.append(Segment(digest=segment.digest, path=place.relative_to(home.root).as_posix()))
    return state.model_copy(update={"segments": tuple(segments)})


def identity_of(parent: str, parts: Sequence[str], consumed: Mapping[str, Sequence[str]], state: TrainingState) -> str:
    """What a version is called by: its parent, and the digests of all that belongs to it."""
    beside = [] if state.path is None else [state.digest]  # versions from before there was a state have none
    return digest_of([parent, *parts, consumed, *beside])


def write_used(training_set: Path, folder: Path) -> Path:
    """Write which documents a version trains on, by the hashes of their keys and contents; returns the file."""
    rows = (
        {"key": hash_of(row["key"]), "content_hash": row["content_hash"], "source": row["source"]}
        for row in read_lines(training_set / "used.jsonl")
    )
    content = "".join(canonical_json(row) + "\n" for row in rows)
    write_atomic(folder / USED, gzip.compress(content.encode(), mtime=0))
    return folder / USED
