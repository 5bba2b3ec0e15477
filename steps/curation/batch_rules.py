"""Rules on a batch as a whole: volume, length, languages and what was dropped, against the last accepted refresh.

What is compared is state: each refresh writes `figures.json` into its segment of the index. The rules are a Great
Expectations suite on a table of one row; nothing is imported where there is nothing to compare.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from steps.core.artifacts import Frozen
from steps.core.contracts import Contract
from steps.core.shards import write_json
from steps.curation.statistics import Figures

FIGURES = "figures.json"


class BatchRules(Frozen):
    """How far a task's documents may differ from those of the last accepted refresh; null switches a rule off."""

    min_documents: int = Field(50, ge=1, description="documents on both sides under which nothing is compared")
    min_volume_ratio: float | None = Field(
        None, gt=0, le=1, description="least documents, times those of before; off: small updates after a large start"
    )
    max_volume_ratio: float | None = Field(10, ge=1, description="most documents, times those of before")
    max_length_ratio: float | None = Field(4, ge=1, description="median length, times longer or shorter than before")
    max_language_shift: float | None = Field(
        0.3, ge=0, le=1, description="share of documents that would have to change language to give the mix of before"
    )
    max_dropped_change: float | None = Field(0.3, ge=0, le=1, description="growth of the share dropped by rules, of 1")


class Checked(NamedTuple):
    """What the rules found of a task."""

    why: str = ""  # which rules it breaks, in words; empty: none
    result: dict[str, Any] | None = None  # as Great Expectations has it; none: nothing to compare with


def last_figures(folders: Sequence[Path]) -> dict[str, Figures]:
    """The figures of each task in an index: of the last refresh that had enough of it."""
    for folder in reversed(folders):
        if (folder / FIGURES).exists():
            facts = json.loads((folder / FIGURES).read_bytes())
            return {task: Figures.model_validate(own) for task, own in facts.items()}
    return {}


def write_figures(folder: Path, figures: Mapping[str, Figures]) -> None:
    """Write the figures that the next refresh is compared with into a segment of the index."""
    write_json(folder / FIGURES, {task: own.model_dump(mode="json") for task, own in sorted(figures.items())})


def next_figures(rules: BatchRules, before: Mapping[str, Figures], now: Mapping[str, Figures]) -> dict[str, Figures]:
    """What the next refresh is compared with: a task that had too few documents keeps what it had."""
    return {**before, **{task: own for task, own in now.items() if own.documents >= rules.min_documents}}


def check(rules: BatchRules, task: str, now: Figures, before: Figures | None) -> Checked:
    """Hold a task's documents against those of before."""
    if before is None or before.documents < rules.min_documents:
        return Checked()
    row = compared(now, before)
    expectations = [
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": column, **limits}}
        for column, limits in _limits(rules, now, before).items()
    ]
    if not expectations:
        return Checked()
    contract = Contract(Path(f"batch rules of {task}"), {}, suite={"name": "batch", "expectations": expectations})
    contract.check([row])
    result = {**contract.result(), "figures": row, "now": now.model_dump(), "before": before.model_dump()}
    broken = [one["expectation_config"]["kwargs"]["column"] for one in result["results"] if not one["success"]]
    return Checked("; ".join(_words(column, row, now, before) for column in broken), result)


def compared(now: Figures, before: Figures) -> dict[str, float]:
    """The row that the rules judge."""
    codes = now.languages.keys() | before.languages.keys()
    shift = sum(abs(now.languages.get(code, 0) - before.languages.get(code, 0)) for code in codes) / 2
    return {
        "volume_ratio": round(now.documents / max(1, before.documents), 6),
        "length_ratio": round(max(1.0, now.median_characters) / max(1.0, before.median_characters), 6),
        "language_shift": round(shift, 6),
        "dropped_change": round(now.share_dropped - before.share_dropped, 6),
    }


def _limits(rules: BatchRules, now: Figures, before: Figures) -> dict[str, dict[str, float | None]]:
    """The limits of each column; what too few documents say is not judged."""
    found: dict[str, dict[str, float | None]] = {}
    if rules.min_volume_ratio is not None or rules.max_volume_ratio is not None:
        found["volume_ratio"] = {"min_value": rules.min_volume_ratio, "max_value": rules.max_volume_ratio}
    if rules.max_length_ratio is not None and now.documents >= rules.min_documents:
        found["length_ratio"] = {"min_value": round(1 / rules.max_length_ratio, 6), "max_value": rules.max_length_ratio}
    if min(now.judged, before.judged) >= rules.min_documents:
        if rules.max_language_shift is not None:
            found["language_shift"] = {"min_value": None, "max_value": rules.max_language_shift}
        if rules.max_dropped_change is not None:
            found["dropped_change"] = {"min_value": None, "max_value": rules.max_dropped_change}
    return {
        column: {name: value for name, value in limits.items() if value is not None} for column, limits in found.items()
    }


def _words(column: str, row: Mapping[str, float], now: Figures, before: Figures) -> str:
    if column == "volume_ratio":
        return f"volume: {now.documents:,} documents, {before.documents:,} in the last accepted refresh"
    if column == "length_ratio":
        return (
            f"length: the median document has {now.median_characters:,.0f} characters, "
            f"{before.median_characters:,.0f} in the last accepted refresh"
        )
    if column == "language_shift":
        return f"languages: {_mix(now)}; in the last accepted refresh {_mix(before)}"
    return f"dropped: {now.share_dropped:.0%} by rules, {before.share_dropped:.0%} in the last accepted refresh"


def _mix(figures: Figures) -> str:
    largest = sorted(figures.languages.items(), key=lambda one: (-one[1], one[0]))[:3]
    return ", ".join(f"{code} {share:.0%}" for code, share in largest) or "none"
