"""Ingest: the landed files of one task become documents of one schema; what is none is set aside with a reason."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from steps.core.artifacts import Batch, Corpus, Landed
from steps.core.contracts import Contract
from steps.core.documents import content_hash
from steps.core.manifest import FILES, LandedFile, read_manifest
from steps.core.method import load_method
from steps.core.shards import canonical_json, digest_of, digest_of_file, write_json, write_lines
from steps.core.workspace import Workspace
from steps.methods.reader import Record, Rejected, excerpt, reader_for
from steps.methods.reader._shared import head

CONTRACTS = "data/contracts"
PORTION_ROWS = 50_000  # checked at a time, to bound memory
PORTION_CHARACTERS = 50_000_000


class IngestConfig(BaseModel):
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


def ingest(workspace: Workspace, config: IngestConfig, landed: Landed) -> Corpus:
    """Turn the batches of one task into documents: `documents.jsonl`, `quarantine.jsonl` and `contract.json`.

    Raises:
        ValueError: a landed file is not the one that landed, or the contract cannot be checked.
        OSError: a file cannot be read or written.
    """
    task = landed.task
    contract = Contract(workspace.root / CONTRACTS / f"{task.contract}.json", {"licences": task.licences})
    removed_in = {key: index for index, batch in enumerate(landed.batches) for key in batch.removals}
    landed_again: set[str] = set()
    quarantined: Counter[str] = Counter()
    workspace.path.mkdir(parents=True, exist_ok=True)
    with (workspace.path / "quarantine.jsonl").open("w", encoding="utf-8") as aside:

        def documents() -> Iterator[dict[str, Any]]:
            for outcome in _checked(contract, _outcomes(workspace, config, landed, removed_in)):
                if outcome.reason:
                    quarantined[outcome.reason] += 1
                    entry = {**outcome.where, "reason": outcome.reason, "excerpt": outcome.excerpt}
                    aside.write(canonical_json(entry) + "\n")
                    continue
                if outcome.row["key"] in removed_in:
                    landed_again.add(outcome.row["key"])
                yield outcome.row

        num_documents = write_lines(workspace.path / "documents.jsonl", documents())
    write_json(workspace.path / "contract.json", contract.result())
    facts = {
        "task": task.model_dump(),
        "quarantined": dict(sorted(quarantined.items())),
        "withdrawn": sorted(removed_in.keys() - landed_again),
        "contract": contract.digest,
        "documents": digest_of_file(workspace.path / "documents.jsonl"),
    }
    return Corpus(
        digest=digest_of(facts),
        task=task,
        path=workspace.relative(workspace.path),
        num_landed=num_documents + quarantined.total(),
        num_documents=num_documents,
        quarantined=facts["quarantined"],
        withdrawn=tuple(facts["withdrawn"]),
    )


def _outcomes(
    workspace: Workspace, config: IngestConfig, landed: Landed, removed_in: dict[str, int]
) -> Iterator[Outcome]:
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
                outcome = _outcome(record, landed, batch, file.name, config)
                if not outcome.reason and removed_in.get(outcome.row["key"], -1) >= index:
                    outcome = Outcome({}, outcome.where, "withdrawn", excerpt(outcome.row["key"]))
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


def _outcome(record: Record | Rejected, landed: Landed, batch: Batch, name: str, config: IngestConfig) -> Outcome:
    where: dict[str, str | int] = {"batch": batch.name, "file": name, "line": record.line}
    if isinstance(record, Rejected):
        return Outcome({}, where, record.reason, record.excerpt)
    if len(record.text) > config.max_document_characters:
        return Outcome({}, where, "document-too-long", excerpt(record.text))
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


def _checked(contract: Contract, outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    """The same outcomes in the same order, those that break the contract with their reason."""
    portion: list[Outcome] = []
    num_characters = 0
    for outcome in outcomes:
        portion.append(outcome)
        num_characters += len(outcome.row.get("text", ""))
        if len(portion) >= PORTION_ROWS or num_characters >= PORTION_CHARACTERS:
            yield from _check_portion(contract, portion)
            portion, num_characters = [], 0
    yield from _check_portion(contract, portion)


def _check_portion(contract: Contract, portion: list[Outcome]) -> Iterator[Outcome]:
    rows = [
        {name: value for name, value in outcome.row.items() if name != "messages"}  # the contract judges their text
        for outcome in portion
        if not outcome.reason
    ]
    reasons = iter(contract.check(rows) if rows else [])
    for outcome in portion:
        reason = None if outcome.reason else next(reasons)
        if reason:
            yield Outcome({}, outcome.where, f"contract:{reason}", excerpt(outcome.row["text"]))
        else:
            yield outcome
