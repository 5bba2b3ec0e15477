"""The records of landed batches: documents, or reasons why they are none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from steps.core.artifacts import Batch, Landed
from steps.core.documents import content_hash
from steps.core.manifest import FILES, LandedFile, read_manifest
from steps.core.method import load_method
from steps.core.shards import digest_of_file
from steps.core.workspace import Workspace
from steps.methods.privacy import masked
from steps.methods.reader import EXCERPT_CHARACTERS, Record, Rejected, excerpt, reader_for
from steps.methods.reader._shared import head


class Reading(BaseModel):
    """How much of a record is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_line_bytes: int = Field(16 * 2**20, ge=1024, description="bytes of the longest record; longer: quarantine")
    max_document_characters: int = Field(1_000_000, ge=1, description="longest document; longer: quarantine")


class Outcome(NamedTuple):
    """What became of one landed record: a row of a document, or a reason why it is none."""

    row: dict[str, Any]
    where: dict[str, str | int]
    reason: str = ""
    excerpt: str = ""


def outcomes(workspace: Workspace, config: Reading, landed: Landed, removed_in: dict[str, int]) -> Iterator[Outcome]:
    """Every record of the batches, in order of batch, file and line."""
    manifests = [(batch, read_manifest(workspace.at(batch.path))) for batch in landed.batches]
    total = sum(len(manifest.files) for _, manifest in manifests)
    done = 0
    for index, (batch, manifest) in enumerate(manifests):
        if manifest.digest != batch.digest:
            raise ValueError(
                f"{batch.path}: wanted contents of {batch.digest[:12]}, found {manifest.digest[:12]}; "
                "a batch is immutable: restore it, or start the refresh again"
            )
        for file in manifest.files:
            workspace.progress(done, total, "files")
            done += 1
            path = _verified(workspace.at(f"{batch.path}/{FILES}/{file.name}"), file)
            knobs = {"max_line_bytes": config.max_line_bytes}
            reader: Any = load_method("reader", reader_for(file.name, head(path)))(**knobs)
            for record in reader.read(path, file.name):
                outcome = outcome_of(record, landed, batch, file.name, config)
                if not outcome.reason and removed_in.get(outcome.row["key"], -1) >= index:
                    outcome = Outcome({}, outcome.where, "withdrawn", shown(outcome.row["key"]))
                yield outcome


def _verified(path: Path, file: LandedFile) -> Path:
    """A landed file, if its bytes are those that landed."""
    found = digest_of_file(path) if path.is_file() else "no file"
    if found != file.sha256:
        raise ValueError(
            f"{path}: wanted the bytes that landed (SHA-256 {file.sha256[:12]}), found {found[:12]}; "
            "a batch is immutable: restore the file, or remove the batch's folder and land it again"
        )
    return path


def outcome_of(record: Record | Rejected, landed: Landed, batch: Batch, name: str, config: Reading) -> Outcome:
    """What a record of a batch becomes: a row of a document, or a reason why it is none."""
    where: dict[str, str | int] = {"batch": batch.name, "file": name, "line": record.line}
    if isinstance(record, Rejected):
        return Outcome({}, where, record.reason, shown(record.excerpt))
    if len(record.text) > config.max_document_characters:
        return Outcome({}, where, "document-too-long", shown(record.text))
    hashed = content_hash(record.text)
    row: dict[str, Any] = {
        "key": hashed if record.key is None else record.key,
        "content_hash": hashed,
        "text": record.text,
        "task": landed.task.name,
        "source": name if record.source is None else record.source,
        "language": landed.task.language if record.language is None else record.language,
        "time": batch.time if record.time is None else record.time,
        "licence": landed.task.licence if record.licence is None else record.licence,
        "batch": batch.name,
    }
    if record.messages:
        row["messages"] = [{"role": role, "content": content} for role, content in record.messages]
    return Outcome(row, where)


def shown(text: str) -> str:
    """How a record begins, with private data masked; what the end may cut through is left out."""
    begin = excerpt(masked(text[: 8 * EXCERPT_CHARACTERS]))
    if len(text) < EXCERPT_CHARACTERS:
        return begin
    whole, _, _ = begin.rpartition(" ")
    return f"{whole} …" if whole else "…"
