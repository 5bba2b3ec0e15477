"""Where a line begins, and the state that versions own."""

import shutil
from pathlib import Path
from typing import TypeVar

from pipelines.edge.base_models import resolve_base
from pipelines.edge.home import Home
from pipelines.edge.registry import base_version
from steps.core.artifacts import Segment, State, Version

StateType = TypeVar("StateType", bound=State)


def base_of(home: Home, address: str) -> Version:
    """The line before its first refresh.

    Raises:
        ValueError: the address names no model that can be loaded; the message says what would do.
    """
    local = str(_downloaded(home, address)) if address.startswith("models:/") else address
    return base_version(resolve_base(home.root, local))


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
