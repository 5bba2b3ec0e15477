"""A version's files where they are kept: in a folder of this machine, or in a store of artifacts behind an address."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from steps.core.artifacts import Version
from steps.core.models import digest_of_model
from steps.core.shards import write_atomic
from steps.core.training_state import digest_of_state

WEIGHTS = "artifacts/model"  # inside a registered folder: what transformers loads
STATE = "training_state"  # likewise: what the next refresh's training goes on from


def local_folder(address: str) -> Path | None:
    """The folder behind an artifact address, if it is on this machine."""
    parts = urlparse(address)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return Path(url2pathname(parts.path))
    return Path(address) if address.startswith("/") else None


def check_whole(number: str, folder: Path) -> None:
    """Check that the weights and the training state that came from the registry's store are those that were registered.

    Raises:
        RuntimeError: they are not.
    """
    record, weights = folder / "version.json", folder / WEIGHTS
    if not record.exists():  # retired: there are none
        return
    version = Version.model_validate_json(record.read_text(encoding="utf-8"))
    parts = [("weights", version.model.digest, digest_of_model(weights))]
    if version.training_state.path is not None:
        state = folder / STATE
        found = digest_of_state(state) if state.is_dir() else "no such folder"
        parts.append(("training state", version.training_state.digest, found))
    for what, wanted, found in parts:
        if found != wanted:
            raise RuntimeError(
                f"version {number}: its {what} should have the digest {wanted[:16]}, what the registry's store gave "
                f"has {found[:16]}; try again, and if it stays so `perennial reproduce {number}`"
            )


def empty_folder(place: Path) -> int:
    """Remove weights and training state of a version that lies in a folder; returns the bytes freed."""
    record = place / "version.json"
    parts = [part for part in (place / WEIGHTS, place / STATE) if part.exists()]
    freed = sum(file.stat().st_size for part in parts for file in part.rglob("*") if file.is_file())
    if parts and record.exists():
        record.rename(place / "retired.json")
    for part in parts:
        shutil.rmtree(part)
    return freed


def empty_store(address: str) -> int:
    """Remove weights and training state of a version that lies in a store of artifacts; returns the bytes freed."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    store: Any = get_artifact_repository(address)
    parts = {part: list(_files(store, part)) for part in (WEIGHTS, STATE)}
    if any(file.path == "version.json" for file in store.list_artifacts()):
        with tempfile.TemporaryDirectory() as folder:
            record = Path(store.download_artifacts("version.json", folder))
            store.log_artifact(str(record.rename(record.with_name("retired.json"))))
        store.delete_artifacts("version.json")
    for part, files in parts.items():
        if files:
            store.delete_artifacts(part)
    return sum(file.file_size or 0 for files in parts.values() for file in files)


def read_text(address: str, name: str) -> str | None:
    """A file of a run or a version; none: it has no such file."""
    place = local_folder(address)
    if place is not None:
        return (place / name).read_text(encoding="utf-8") if (place / name).is_file() else None
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    store: Any = get_artifact_repository(address)
    if not any(file.path == name for file in store.list_artifacts(name.rpartition("/")[0] or None)):
        return None
    with tempfile.TemporaryDirectory() as folder:
        return Path(store.download_artifacts(name, folder)).read_text(encoding="utf-8")


def write_text(address: str, name: str, text: str) -> None:
    """Put a file beside what belongs to a version."""
    place = local_folder(address)
    if place is not None:
        write_atomic(place / name, text)
        return
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    store: Any = get_artifact_repository(address)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_text(text, encoding="utf-8")
        store.log_artifact(str(path))


def _files(store: Any, folder: str) -> Iterator[Any]:
    for each in store.list_artifacts(folder):
        if each.is_dir:
            yield from _files(store, each.path)
        else:
            yield each
