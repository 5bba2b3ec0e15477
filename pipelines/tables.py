"""What the command line shows: renderables, built from values; the verbs print them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipelines.edge.outcome import Outcome, TaskRow
from pipelines.edge.reports import JUDGED_HEAD, judged_rows, shown_reasons

WELL = {"ok", "embedded", "SQLite in the workspace"}
COLOURS = {"accepted": "green", "rejected": "red", "undecided": "yellow", "unchanged": "cyan"}


def outcome_table(outcome: Outcome, places: Mapping[str, str]) -> RenderableType:
    """The end of a refresh: what was gained and forgotten, what was trained on, the verdict, where to look."""
    colour = COLOURS[outcome.kind]
    said = f"version {outcome.version}" if outcome.version not in {None, "base"} else "the base model"
    verdict = Text(f"{outcome.kind.upper()}: {said}", style=f"bold {colour}")
    parts: list[RenderableType] = []
    if outcome.rows:
        parts += [_losses(outcome), _records(outcome), *_reasons(outcome.rows)]
    if outcome.comparisons:
        parts.append(_judged(outcome))
    parts.append(
        Panel(Group(verdict, *(Text(f"- {reason}") for reason in shown_reasons(outcome))), border_style=colour)
    )
    for task, (before, after) in outcome.samples.items():
        parts.append(Text.assemble((f"{task}, before: ", "dim"), _one_line(before)))
        parts.append(Text.assemble((f"{task}, after:  ", "dim"), _one_line(after)))
    parts += [Text.assemble((f"{name}: ", "dim"), place) for name, place in places.items()]
    return Group(*parts)


def _losses(outcome: Outcome) -> Table:
    table = Table(title="Hold-out loss, nats per token (lower is better)", title_justify="left", expand=False)
    for name in ("task", "before", "after", "change [95 % interval]", "items", "tokens trained", "of them replayed"):
        table.add_column(name, justify="left" if name == "task" else "right")
    for row in outcome.rows:
        change = "-" if row.change is None else f"{row.change:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
        better = row.high is not None and row.high < 0
        worse = row.low is not None and row.low > 0
        table.add_row(
            f"{row.task} (general)" if row.role == "replay-only" else row.task,
            _number(row.before),
            _number(row.after),
            Text(change, style="green" if better else "red" if worse else ""),
            str(row.num_items),
            f"{row.achieved_tokens:,} of {row.planned_tokens:,}",
            f"{row.achieved_replay:,}",
        )
    trained = sum(row.achieved_tokens for row in outcome.rows)
    replayed = sum(row.achieved_replay for row in outcome.rows)
    planned = sum(row.planned_tokens for row in outcome.rows) or 1
    planned_replay = sum(row.planned_replay for row in outcome.rows)
    shares = f"{replayed / max(1, trained):.1%} replayed (planned {planned_replay / planned:.1%})"
    table.caption = f"{trained:,} tokens trained on, {shares}"
    return table


def _judged(outcome: Outcome) -> Table:
    table = Table(title="What the gate asked (docs/verdicts.md)", title_justify="left", expand=False)
    for name in JUDGED_HEAD:
        table.add_column(name, justify="left" if name in {"what", "against", "answer"} else "right")
    for row in judged_rows(outcome):
        colour = {"pass": "green", "fail": "red", "undecided": "yellow"}[row[-1].split(",")[0]]
        table.add_row(*row[:-1], Text(row[-1], style=colour))
    return table


def _records(outcome: Outcome) -> Table:
    table = Table(title="Records", title_justify="left", expand=False)
    for name in ("task", "landed", "kept", "held out", "dropped", "quarantined", "superseded"):
        table.add_column(name, justify="left" if name == "task" else "right")
    for row in outcome.rows:
        table.add_row(
            row.task,
            f"{row.landed:,}",
            f"{row.kept:,}",
            f"{row.held_out:,}",
            f"{sum(row.dropped.values()):,}",
            f"{sum(row.quarantined.values()):,}",
            f"{row.superseded:,}",
        )
    return table


def _reasons(rows: Sequence[TaskRow]) -> Iterator[Text]:
    """Why records were dropped or quarantined, a line for each task that lost any."""
    for row in rows:
        for word, reasons in (("dropped", row.dropped), ("quarantined", row.quarantined)):
            if reasons:
                counted = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
                yield Text.assemble((f"{row.task}, {word}: ", "dim"), counted)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:160]


def status_table(state: Mapping[str, Any]) -> RenderableType:
    """A workspace's state."""
    head = Text(f"{state['workspace']}: champion {state['champion'] or 'is the base model'}", style="bold")
    if state["running"]:
        now = state["running"]
        head.append(f"; a refresh is under way, in {now.get('stage') or 'its first stage'}", style="cyan")
    parts: list[RenderableType] = [head, _tasks(state)]
    if state["versions"]:
        parts.append(_versions(state["versions"]))
    if state["last"]:
        parts.append(_refreshes(state["last"]))
    parts += [Text("{task}/{batch} {state}: {why}".format(**held), style="yellow") for held in state["held"]]
    if state["schedules"]:
        named = ", ".join(f"{name} ({word})" for name, word in state["schedules"].items())
        parts.append(Text.assemble(("next scheduled run: ", "dim"), state["next"] or "none", (" · ", "dim"), named))
    parts.append(_health(state["health"]))
    return Group(*parts)


def _tasks(state: Mapping[str, Any]) -> Table:
    table = _table("Tasks", "task", "role", "landings", "consumed", "waiting", "documents", "tokens, about")
    for name, task in state["tasks"].items():
        waits = state["backlog"].get(name, {})
        numbers = (f"{waits[key]:,}" if waits else "-" for key in ("documents", "tokens"))
        waiting = ", ".join(task["pending"]) or "-"
        table.add_row(name, task["role"], str(task["landed"]), str(task["consumed"]), waiting, *numbers)
    return table


def _versions(versions: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("Versions", "version", "verdict", "aliases", "parent")
    for version in versions[:10]:
        verdict = Text(str(version["verdict"]), style=COLOURS.get(str(version["verdict"]), ""))
        table.add_row(version["version"], verdict, ", ".join(version["aliases"]) or "-", version["parent"] or "-")
    return table


def _refreshes(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table(
        "Last refreshes", "when (UTC)", "verdict", "version", "started by", "device seconds", "tokens", "why"
    )
    for row in rows:
        verdict = Text(str(row["verdict"]), style=COLOURS.get(str(row["verdict"]), "red"))
        cost = ("-" if row[key] is None else f"{row[key]:,.0f}" for key in ("device_seconds", "tokens"))
        when = str(row["time"])[:19].replace("T", " ")
        why = "" if row["verdict"] == "accepted" else _one_line(str(row["why"]))
        table.add_row(when, verdict, row["version"] or "-", row["cause"] or "-", *cost, why)
    return table


def _health(health: Mapping[str, str]) -> Text:
    """What is well in one line, what is not in a line of its own."""
    well = {name for name, word in health.items() if word in WELL or name == "service"}
    line = Text.assemble(("health: ", "dim"), ", ".join(f"{name} {health[name]}" for name in health if name in well))
    for name in health:
        if name not in well:
            line.append(f"\n{name}: {health[name]}", style="red")
    return line


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name)
    return table


def preview_table(found: Mapping[str, Any]) -> RenderableType:
    """What a refresh would consume and cost."""
    table = Table(title="What a refresh would do now", title_justify="left", show_header=False)
    batches = "\n".join(f"{task}: {', '.join(names)}" for task, names in found["batches"].items()) or "none"
    table.add_row("parent", found["parent"])
    table.add_row("batches", batches)
    table.add_row("bytes read", f"{found['bytes_read']:,}")
    table.add_row("loss tokens trained on", f"{found['train_tokens']:,}")
    table.add_row("tokens evaluated", f"{found['judged_tokens']:,}")
    table.add_row("device", found["device"])
    table.add_row("time, about", f"{found['minutes']} minutes")
    table.add_row("memory, about", f"{found['memory_gigabytes']} GB")
    table.add_row("disk, about", f"{found['disk_gigabytes']} GB")
    if not found["starts"]:
        table.add_row("starts", "no: nothing new to train on has landed")
    return table
