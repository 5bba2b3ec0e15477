"""What `perennial step clean --explain` shows: a table for each document, a line for each rule."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

COLOURS = {"pass": "green", "edit": "cyan", "drop": "red", "unknown": "dim"}


def explanation(found: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Every document with its rules; the first that drops it is the one that counts."""
    parts: list[RenderableType] = []
    for one in found:
        kept = one["verdict"] == "kept"
        head = Text.assemble((str(one.get("key", one.get("where"))), "bold"), ": ")
        head.append(one["verdict"], style="bold green" if kept else "bold red")
        parts.append(head)
        parts.append(_rules(one["rules"]) if "rules" in one else Text(one["excerpt"], style="dim"))
    return Group(*parts) if parts else Text("no records")


def _rules(rules: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("rule", "verdict", "reason", "found", "limit", "where", expand=False)
    for one in rules:
        reason = Text(one.get("reason", ""), style="dim" if one["verdict"] == "unknown" else "")
        if one.get("of"):
            reason.append(f" of {one['of']}")
        numbers = ("" if one.get(name) is None else f"{one[name]:,.4g}" for name in ("found", "limit"))
        table.add_row(one["rule"], Text(one["verdict"], style=COLOURS[one["verdict"]]), reason, *numbers, _where(one))
    return table


def _where(one: Mapping[str, Any]) -> Text:
    """The characters of the offending part, and the part itself among its neighbours."""
    shown = Text()
    if one.get("at"):
        begin, end = one["at"]
        shown.append(f"{begin:,} to {end:,}: ", style="dim")
        before, part, after = (piece.replace("\n", "⏎") for piece in one["excerpt"])
        shown.append(before[-30:])
        shown.append(part[:60], style="bold red")
        shown.append(after[:30])
    return shown
