"""What the gate can see with how many items: power at zero effect, by a recipe's margins and by the last verdict."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from steps.core.proportions import PairedAnswers, paired_answers
from steps.core.rules import Rules
from steps.core.shards import read_lines
from steps.core.statistics import items_for_power, power

SPREADS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5)  # nats/token, of the change from item to item
ITEMS = (50, 100, 200, 400, 800)
CHANGED = (0.02, 0.05, 0.1, 0.2)  # of the questions, half of them lost and half gained
QUESTIONS = (100, 200, 400, 800, 1600)
SURE, SURER = 0.8, 0.95


def gate_power(rules: Rules, folder: Path) -> dict[str, Any]:
    """The tables by margin, and what the tasks of the last verdict in a folder of `gate` showed."""
    losses = [
        {
            "spread_nats": spread,
            "power": {number: power(0.0, spread, rules.margin_nats, number, rules.level) for number in ITEMS},
        }
        | {"items": {sure: items_for_power(sure, spread, rules.margin_nats, rules.level) for sure in (SURE, SURER)}}
        for spread in SPREADS
    ]
    suites = [
        {"changed": share, "power": {number: _suite_power(share, number, rules) for number in QUESTIONS}}
        for share in CHANGED
    ]
    told = {"level": rules.level, "margin_nats": rules.margin_nats, "margin_points": rules.margin_points}
    return {**told, "losses": losses, "suites": suites, "last": list(_last(rules, folder))}


def _suite_power(share: float, number: int, rules: Rules) -> float:
    each = round(share * number / 2)
    answers = [100.0] * each + [-100.0] * each + [0.0] * (number - 2 * each)
    change = paired_answers(answers, [str(k) for k in range(number)], 0, 0)
    assert isinstance(change, PairedAnswers)
    return change.power(rules.margin_points, rules.level)


def _last(rules: Rules, folder: Path) -> Iterator[dict[str, Any]]:
    """Every test of the last verdict that has a margin: its spread, its power, and the items for more."""
    if not (folder / "comparisons.jsonl").exists():
        return
    errors = {
        (row["task"], row["part"], row["against"]): row.get("error_nats")
        for row in read_lines(folder / "intervals.jsonl")
    }
    for row in read_lines(folder / "comparisons.jsonl"):
        error = errors.get((row["task"], row.get("part", "anchor"), row["against"]))
        if row["kind"] != "non-inferiority" or "margin" not in row:
            continue
        found = {name: row[name] for name in ("task", "against", "unit", "margin", "num_items", "power", "outcome")}
        if row["unit"] == "nats" and error:
            spread = error * math.sqrt(row["num_items"])
            needed = {sure: items_for_power(sure, spread, row["margin"], rules.level) for sure in (SURE, SURER)}
            found |= {"spread_nats": spread, "items": needed}
        yield found


def power_tables(found: Mapping[str, Any]) -> RenderableType:
    """The same for a person."""
    level = f"level {found['level']:g}"
    losses = Table(title=f"A task: margin {found['margin_nats']:g} nats/token, {level}", title_justify="left")
    losses.add_column("spread of the change, nats")
    for name in (*(f"{number:,} items" for number in ITEMS), *(f"items for {sure:.0%}" for sure in (SURE, SURER))):
        losses.add_column(name, justify="right")
    for row in found["losses"]:
        cells = [f"{value:.2f}" for value in row["power"].values()] + [f"{value:,}" for value in row["items"].values()]
        losses.add_row(f"{row['spread_nats']:.2f}", *cells)
    suites = Table(title=f"A suite: margin {found['margin_points']:g} points, {level}", title_justify="left")
    suites.add_column("answers that change")
    for number in QUESTIONS:
        suites.add_column(f"{number:,} questions", justify="right")
    for row in found["suites"]:
        suites.add_row(f"{row['changed']:.0%}", *(f"{value:.2f}" for value in row["power"].values()))
    parts: list[RenderableType] = ["Chance that a model that changed nothing passes:", losses, suites]
    if found["last"]:
        parts.append(_last_table(found["last"]))
    return Group(*parts)


def _last_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="The last verdict here", title_justify="left")
    for name in ("what", "against", "margin", "spread", "items", "power", "for 80%", "for 95%", "answer"):
        table.add_column(name, justify="left" if name in {"what", "against", "answer"} else "right")
    for row in rows:
        needed = [f"{number:,}" for number in row.get("items", {}).values()] or ["–", "–"]
        spread = f"{row['spread_nats']:.3f}" if "spread_nats" in row else "–"
        margin = f"{row['margin']:.3g} {row['unit']}"
        chance = "–" if row["power"] is None else f"{row['power']:.2f}"
        cells = (row["task"], row["against"], margin, spread, f"{row['num_items']:,}", chance, *needed, row["outcome"])
        table.add_row(*cells)
    return table
