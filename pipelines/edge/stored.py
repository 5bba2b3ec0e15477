"""A version's files where they are kept: in a folder of this machine, or in a store of artifacts behind an address."""

import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from steps.core.artifacts import Version
from steps.core.models import digest_of_model

WEIGHTS = "artifacts/model"  # inside a registered folder: what transformers loads


def local_folder(address: str) -> Path | None:
    """The folder behind an artifact address, if it is on this machine."""
    parts = urlparse(address)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return Path(url2pathname(parts.path))
    return Path(address) if address.startswith("/") else None


def check_whole(number: str, folder: Path) -> None:
    """Check that the weights that came from the registry's store are those that were registered.

    Raises:
        RuntimeError: they are not.
    """
    record, weights = folder / "version.json", folder / WEIGHTS
    if not record.exists():  # retired: there are none
        return
    wanted = Version.model_validate_json(record.read_text(encoding="utf-8")).model.digest
    found = digest_of_model(weights)
    if found != wanted:
        raise RuntimeError(
            f"version {number}: its weights should have the digest {wanted[:16]}, what the registry's store gave has "
            f"{found[:16]}; try again, and if it stays so `perennial reproduce {number}`"
        )


def empty_folder(place: Path) -> int:
    """Remove the weights of a version that lies in a folder; returns the bytes freed."""
    weights, record = place / WEIGHTS, place / "version.json"
    if not weights.exists():
        return 0
    freed = sum(file.stat().st_size for file in weights.rglob("*") if file.is_file())
    if record.exists():
        record.rename(place / "retired.json")
    shutil.rmtree(weights)
    return freed


def empty_store(address: str) -> int:
    """Remove the weights of a version that lies in a store of artifacts; returns the bytes freed."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    store: Any = get_artifact_repository(address)
    weights = store.list_artifacts(WEIGHTS)
    if any(file.path == "version.json" for file in store.list_artifacts()):
        with tempfile.TemporaryDirectory() as folder:
            record = Path(store.download_artifacts("version.json", folder))
            store.log_artifact(str(record.rename(record.with_name("retired.json"))))
        store.delete_artifacts("version.json")
    if weights:
        store.delete_artifacts(WEIGHTS)
    return sum(file.file_size or 0 for file in weights)
