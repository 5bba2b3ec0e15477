"""Gate: whether the candidate may take the champion's place, in words and numbers."""

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from steps.core.artifacts import Comparison, Frozen, GateItems, History, MatrixRow, Report, Score, Verdict
from steps.core.comparisons import Answer, Demands, better, item_changes, not_worse, paired_tasks
from steps.core.matrix import transfer
from steps.core.shards import digest_of, write_lines
from steps.core.statistics import PairedChange
from steps.core.workspace import Workspace

logger = logging.getLogger(__name__)
ORDER: tuple[Answer, ...] = ("fail", "undecided", "pass")  # what decides comes first
CHAMPION = "champion"
REFERENCES = ("base", "oldest accepted version")  # what Version.references pins, in its order


class GateConfig(Frozen):
    """What a candidate must show."""

    level: float = Field(0.05, gt=0, lt=0.5, description="of each one-sided test")
    margin_nats: float = Field(0.05, gt=0, description="nats/token that a task may lose in one refresh")
    margins: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="margin_nats of single tasks"
    )
    budget: float = Field(2.0, ge=1, description="margins that a task may lose against each pinned reference")
    min_items: int = Field(100, ge=2, description="items of a task, under which it is undecided")
    min_documents: int = Field(30, ge=2, description="documents of a task, under which it is undecided")
    superiority: Literal["any-fresh", "not-required"] = Field(
        "any-fresh", description="any-fresh: a gain must be shown on at least one task's fresh set"
    )
    bootstrap: int = Field(2000, ge=0, description="resamples of the documents beside the t test; 0: the t test alone")


def gate(
    workspace: Workspace,
    config: GateConfig,
    report: Report,
    baseline: Report,
    references: Sequence[Report],
    history: History,
    items: GateItems,
) -> Verdict:
    """Judge a candidate: no task may lose, at least one must gain; what the items cannot decide stays undecided.

    Raises:
        ValueError: the reports do not score the same items, or not in the same tokens.
    """
    rows: list[dict[str, Any]] = []
    intervals: list[dict[str, Any]] = []
    demands = Demands(config.level, config.min_items, config.min_documents)
    margins = {task: config.margins.get(task, config.margin_nats) for task in {*items.anchor, *items.fresh}}
    found: list[Comparison] = []
    for against, other in _others(baseline, references).items():
        paired = _paired(workspace, config, report, other, "anchor", against, rows, intervals)
        scale = 1.0 if against == CHAMPION else config.budget
        found += not_worse(paired, {task: scale * margin for task, margin in margins.items()}, demands, against)
    gain = config.superiority == "any-fresh"
    if gain:
        fresh = _paired(workspace, config, report, baseline, "fresh", CHAMPION, rows, intervals)
        found += better(fresh, margins, demands, CHAMPION)
    found.sort(key=lambda comparison: ORDER.index(comparison.outcome))

    untested = sorted(set(items.anchor) - {each.task for each in found if each.kind == "non-inferiority"})
    outcome = _decide(found, complete=bool(items.anchor) and not untested, gain=gain)
    facts = {
        "outcome": outcome,
        "reasons": [*_gaps(config, items, found, untested), *(comparison.reason for comparison in found)],
        "comparisons": [comparison.model_dump() for comparison in found],
        **_matrix(report, baseline, history, items),
    }
    write_lines(workspace.path / "items.jsonl", rows)
    write_lines(workspace.path / "intervals.jsonl", intervals)
    write_lines(workspace.path / "comparisons.jsonl", (comparison.model_dump() for comparison in found))
    logger.info("%s after %d comparisons", outcome, len(found))
    return Verdict.model_validate({**facts, "digest": digest_of(facts)})


def _others(baseline: Report, references: Sequence[Report]) -> dict[str, Report]:
    """The models to compare with, by name; one that was named before is not asked twice."""
    others, seen = {CHAMPION: baseline}, {baseline.model}
    for place, reference in enumerate(references):
        if reference.model not in seen:
            others[REFERENCES[place] if place < len(REFERENCES) else f"reference {place + 1}"] = reference
            seen.add(reference.model)
    return others


def _paired(
    workspace: Workspace,
    config: GateConfig,
    report: Report,
    other: Report,
    part: str,
    against: str,
    rows: list[dict[str, Any]],
    intervals: list[dict[str, Any]],
) -> dict[str, PairedChange]:
    """The paired change of each task; those of its items are noted in `rows`, its two intervals in `intervals`."""
    new, old = (workspace.at(each.path) / "items.jsonl" for each in (report, other))
    changes = item_changes(new, old, part, against)
    paired = paired_tasks(changes, config.bootstrap, workspace.seed)
    for task, pairs in changes.items():
        what = {"task": task, "part": part, "against": against}
        rows += [{**what, "id": pair.item, "document": pair.document, "change_nats": pair.change} for pair in pairs]
    for task, change in paired.items():
        student, bootstrap = change.t_interval(), change.bootstrap_interval()
        row = {"change_nats": change.mean, "error_nats": change.error, "t": student, "bootstrap": bootstrap}
        intervals.append({"task": task, "part": part, "against": against, **row})
    return paired


def _decide(found: Sequence[Comparison], *, complete: bool, gain: bool) -> Answer:
    """Fail where a task lost or every fresh task did; pass where all hold and, if wanted, one gained."""
    held = {each.outcome for each in found if each.kind == "non-inferiority"}
    gained = {each.outcome for each in found if each.kind == "superiority"}
    if "fail" in held or gained == {"fail"}:
        return "fail"
    if not complete or "undecided" in held or (gain and "pass" not in gained):
        return "undecided"
    return "pass"


def _gaps(config: GateConfig, items: GateItems, found: Sequence[Comparison], untested: Sequence[str]) -> list[str]:
    """What could not be tested at all."""
    gaps = [
        f"{task}: too few items: wanted {config.min_items:,} of {config.min_documents:,} documents, "
        f"found {items.anchor[task]:,}; hold out more"
        for task in untested
    ]
    if not items.anchor:
        gaps.append("no hold-out items: nothing could be tested; let split hold some out")
    if config.superiority == "any-fresh" and not any(each.kind == "superiority" for each in found):
        gaps.append("no fresh items: no gain can be shown; land more, or set gate.superiority to not-required")
    return gaps


def _matrix(report: Report, baseline: Report, history: History, items: GateItems) -> dict[str, Any]:
    """The rows of the candidate and the baseline, and what the matrix with them says."""
    before = history.rows[-1] if history.rows else MatrixRow(version="base", losses={})
    parent = before.model_copy(update={"losses": {**before.losses, **_losses(baseline.anchor)}})
    row = MatrixRow(version="candidate", losses=_losses(report.anchor), trained=tuple(sorted(items.fresh)))
    return {
        "row": row.model_dump(),
        "baseline_row": parent.model_dump(),
        "transfer": transfer([*history.rows[:-1], parent, row]),
    }


def _losses(scores: Mapping[str, Score]) -> dict[str, float]:
    return {task: score.loss_nats_per_token for task, score in sorted(scores.items())}
