"""The manifest of a batch: what landed, file by file. Written last, so a folder without one never landed."""

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Self

from pydantic import Field, ValidationError, model_validator

from steps.core.artifacts import Frozen
from steps.core.shards import digest_of

MANIFEST = "manifest.json"
FILES = "files"  # the folder beside the manifest that holds the landed files


class LandedFile(Frozen):
    """One file of a batch."""

    name: str = Field(description="path below the batch's folder of files, with forward slashes")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)

    @model_validator(mode="after")
    def _stays_inside(self) -> Self:
        path = PurePosixPath(self.name)
        if path.is_absolute() or ".." in path.parts or path.as_posix() != self.name or self.name == ".":
            raise ValueError(f"file name {self.name!r} leaves the batch's folder; land the file again")
        return self


class Tombstone(Frozen):
    """What is left of a document that was forgotten: enough to know it again, nothing to read."""

    key: str | None = Field(None, description="SHA-256 of its key")
    content: str | None = Field(None, description="its content hash: SHA-256 of its text")
    when: str = Field(description="ISO 8601, UTC")
    why: str
    who: str


class Manifest(Frozen):
    """What one landing brought and withdrew."""

    task: str
    name: str
    landed_at: str = Field(description="ISO 8601, UTC")
    files: tuple[LandedFile, ...] = Field(description="in the order of their names")
    removals: tuple[str, ...] = Field(description="keys withdrawn, sorted")
    digest: str = Field(description="of names, contents and removals; never of the time")
    forgotten: tuple[Tombstone, ...] = Field((), description="documents that were cut out since, or that came again")


def digest_of_landing(files: Sequence[LandedFile], removals: Sequence[str]) -> str:
    """The digest of what a batch holds."""
    return digest_of({"files": [file.model_dump() for file in files], "removals": list(removals)})


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a batch's folder, checked against itself.

    Raises:
        ValueError: there is none, it cannot be read, or its digest is not that of what it lists.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: missing, so this batch never landed; remove its folder and land again") from error
    except (ValidationError, ValueError) as error:
        raise ValueError(f"{path}: wanted the manifest that landing wrote, found {error}; restore the batch") from error
    found = digest_of_landing(manifest.files, manifest.removals)
    if found != manifest.digest:
        raise ValueError(
            f"{path}: wanted the digest {manifest.digest[:12]}, found contents of {found[:12]}; "
            "a batch is immutable: restore it, or remove its folder and land the files again"
        )
    return manifest
