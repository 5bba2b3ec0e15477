"""Files behind an address of artifacts, in a folder of this machine or elsewhere: read, written, removed."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.edge.stored import local_folder
from steps.core.shards import write_atomic

WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".png", ".npy", ".npz")  # no text is in them


class Store:
    """The files of one run or one version."""

    def __init__(self, address: str) -> None:
        self._folder = local_folder(address)
        self._elsewhere: Any = None
        if self._folder is None:
            from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

            self._elsewhere = get_artifact_repository(address)

    def names(self) -> list[str]:
        """The files that may hold text, by their paths in the store."""
        if self._folder is None:
            found = list(self._walk(None))
        else:
            files = (path for path in self._folder.rglob("*") if path.is_file())
            found = [path.relative_to(self._folder).as_posix() for path in files]
        return sorted(name for name in found if not name.endswith(WEIGHTS))

    def _walk(self, above: str | None) -> Iterator[str]:
        for each in self._elsewhere.list_artifacts(above):
            if each.is_dir:
                yield from self._walk(each.path)
            else:
                yield each.path

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        if self._folder is not None:
            return (self._folder / name).read_bytes()
        with tempfile.TemporaryDirectory() as folder:
            return Path(self._elsewhere.download_artifacts(name, folder)).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Put bytes in the place of a file."""
        if self._folder is not None:
            write_atomic(self._folder / name, content)
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(name).name
            path.write_bytes(content)
            above = name.rpartition("/")[0]
            self._elsewhere.log_artifact(str(path), above or None)
