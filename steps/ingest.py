"""Ingest: the landed files of one task become documents of one schema; what is none is set aside with a reason."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from steps.core.artifacts import Corpus, Landed
from steps.core.contracts import CONTRACTS, Contract
from steps.core.shards import canonical_json, digest_of, digest_of_file, write_json, write_lines
from steps.core.workspace import Workspace
from steps.curation.cleaned import contract_of
from steps.curation.landed import Outcome, Reading, outcomes, shown

PORTION_ROWS = 50_000  # checked at a time, to bound memory
PORTION_CHARACTERS = 50_000_000


class IngestConfig(Reading):
    """How much of a record is read."""


def ingest(workspace: Workspace, config: IngestConfig, landed: Landed) -> Corpus:
    """Turn the batches of one task into documents: `documents.jsonl`, `quarantine.jsonl` and `contract.json`.

    Raises:
        ValueError: a landed file is not the one that landed, or the contract cannot be checked.
        OSError: a file cannot be read or written.
    """
    task = landed.task
    contract = Contract(workspace.root / CONTRACTS / f"{task.contract}.json", {"licences": task.licences}, shown=shown)
    removed_in = {key: index for index, batch in enumerate(landed.batches) for key in batch.removals}
    landed_again: set[str] = set()
    quarantined: Counter[str] = Counter()
    workspace.path.mkdir(parents=True, exist_ok=True)
    with (workspace.path / "quarantine.jsonl").open("w", encoding="utf-8") as aside:

        def documents() -> Iterator[dict[str, Any]]:
            for outcome in _checked(contract, outcomes(workspace, config, landed, removed_in)):
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
    cleaned, released = contract_of(workspace.root, task), any(batch.released for batch in landed.batches)
    withdrawn = tuple(sorted(removed_in.keys() - landed_again))
    facts = {
        "task": task.model_dump(),
        "quarantined": dict(sorted(quarantined.items())),
        "withdrawn": withdrawn,
        "contract": contract.digest,
        "clean_contract": cleaned.read().digest if cleaned else "",
        "released": released,
        "documents": digest_of_file(workspace.path / "documents.jsonl"),
    }
    return Corpus(
        digest=digest_of(facts),
        task=task,
        path=workspace.relative(workspace.path),
        num_landed=num_documents + quarantined.total(),
        num_documents=num_documents,
        quarantined=dict(sorted(quarantined.items())),
        withdrawn=withdrawn,
        released=released,
    )


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
            yield Outcome({}, outcome.where, f"contract:{reason}", shown(outcome.row["text"]))
        else:
            yield outcome
