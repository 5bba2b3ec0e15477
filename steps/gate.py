"""Gate: whether the candidate may take the champion's place, in words and numbers."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import Field

from steps.core.artifacts import Comparison, GateItems, History, MatrixRow, Report, Score, Verdict
from steps.core.asks import Asks
from steps.core.comparisons import Answer, Asked, decide, judge
from steps.core.item_budget import told
from steps.core.matrix import transfer, uses
from steps.core.rules import Rules
from steps.core.shards import digest_of, write_lines
from steps.core.workspace import Workspace

logger = logging.getLogger(__name__)
ORDER: tuple[Answer, ...] = ("fail", "undecided", "pass")  # what decides comes first
CHAMPION = "champion"
REFERENCES = ("base", "oldest accepted version")  # what Version.references pins, in its order


class GateConfig(Rules):
    """What a candidate must show."""

    superiority: Literal["any-fresh", "not-required"] = Field(
        "any-fresh", description="any-fresh: a gain must be shown on at least one task's fresh set"
    )
    required: tuple[str, ...] = Field((), description="suites, or patterns, without which nothing passes")
    approval: bool = Field(False, description="a candidate that passes waits for a person: `perennial promote`")


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
        ValueError: the reports do not score the same items, or not in the same tokens, or a margin has no such unit.
    """
    asks = Asks(workspace, config, report)
    held: list[Asked] = []
    for against, other in _others(baseline, references).items():
        budget = 1.0 if against == CHAMPION else config.budget
        held += [*asks.anchor(other, against, budget), *asks.suites(other, against, budget)]
    held += asks.recent(baseline, CHAMPION)
    gain = config.superiority == "any-fresh"
    fresh = list(asks.fresh(baseline, CHAMPION)) if gain else []
    found = [*asks.kept(baseline, CHAMPION), *judge(held, fresh, config.demands)]
    found.sort(key=lambda comparison: ORDER.index(comparison.outcome))

    missing = [*_untested(config, items, found), *_unasked(config, report, found)]
    outcome = decide(found, config.required, complete=not missing, gain=gain)
    rows = _rows(report, baseline, history, items)
    told = [*missing, *_gaps(config, report, items, found), *(comparison.reason for comparison in found)]
    facts = {
        "outcome": outcome,
        "reasons": told,
        "comparisons": [comparison.model_dump() for comparison in found],
        "row": rows[-1].model_dump(),
        "baseline_row": rows[-2].model_dump(),
        "transfer": transfer(rows),
        "uses": {name: use.model_dump() for name, use in uses(rows).items()},
    }
    write_lines(workspace.path / "items.jsonl", asks.rows)
    write_lines(workspace.path / "intervals.jsonl", asks.intervals)
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


def _untested(config: GateConfig, items: GateItems, found: Sequence[Comparison]) -> Iterator[str]:
    """Tasks that could not be tested at all."""
    tested = {each.task for each in found if each.part == "anchor" and each.scope == "task"}
    for task in sorted(set(items.anchor) - tested):
        yield (
            f"{task}: too few items: wanted {config.min_items:,} of {config.min_documents:,} documents, "
            f"found {items.anchor[task]:,}; hold out more"
        )
    if not items.anchor:
        yield "no hold-out items: nothing could be tested; let split hold some out"


def _unasked(config: GateConfig, report: Report, found: Sequence[Comparison]) -> Iterator[str]:
    """Suites that are required, and were not asked of both models."""
    asked = {each.task for each in found if each.scope == "suite"}
    for wanted in config.required:
        if not any(fnmatchcase(name, wanted) for name in asked):
            names = ", ".join(sorted(report.suites)) or "none"
            yield f"{wanted}: this suite is required and was not asked; add it to evaluate.suites (asked: {names})"


def _gaps(config: GateConfig, report: Report, items: GateItems, found: Sequence[Comparison]) -> Iterator[str]:
    """What else a reader must know: no fresh items, margins of nothing, tasks judged by a sample."""
    if config.superiority == "any-fresh" and not any(each.kind == "superiority" for each in found):
        yield "no fresh items: no gain can be shown; land more, or set gate.superiority to not-required"
    names = {*items.anchor, *(each.task for each in found)}
    for name in config.margins:
        if not any(fnmatchcase(each, name) for each in names):
            yield f"gate.margins: {name} is no task, suite or group that was judged"
    if report.sampled:  # tasks that have no fresh set
        parts = (report.anchor, report.recent)
        asked = {task: sum(part[task].num_items for part in parts if task in part) for task in report.sampled}
        yield told(report.sampled, asked)


def _rows(report: Report, baseline: Report, history: History, items: GateItems) -> list[MatrixRow]:
    """The matrix so far, with the baseline's losses on tasks that came since, and the candidate's row."""
    before = history.rows[-1] if history.rows else MatrixRow(version="base", losses={})
    parent = before.model_copy(update={"losses": {**before.losses, **_losses(baseline.anchor)}})
    counts = {name: score.num_items for name, score in report.anchor.items()}
    counts |= {name: score.num_items for name, score in report.suites.items()}
    row = MatrixRow(
        version="candidate",
        losses=_losses(report.anchor),
        trained=tuple(sorted(items.fresh)),
        num_items=counts,
        verdicts=history.verdicts + 1,
    )
    return [*history.rows[:-1], parent, row]


def _losses(scores: Mapping[str, Score]) -> dict[str, float]:
    return {task: score.loss_nats_per_token for task, score in sorted(scores.items())}
