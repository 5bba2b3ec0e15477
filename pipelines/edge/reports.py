"""What a refresh says to a person, as Markdown: the same text in MLflow, in Prefect and in the registry."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipelines.edge.line import Line
from pipelines.edge.outcome import Outcome, TaskRow
from steps.core.artifacts import Gap

SHOWN_VERSIONS = 15
SHOWN_COMPARISONS, SHOWN_REASONS = 60, 40
JUDGED = (
    "What the gate asked. A positive change is harm. Power: the chance that a model that changed nothing passes with "
    "these items. Used: verdicts that an item took part in, on average; this is one (docs/verdicts.md)."
)


def result(outcome: Outcome) -> str:
    """The end in three words: `version 3 accepted`."""
    return f"version {outcome.version} {outcome.kind}"


def refresh_report(
    outcome: Outcome, *, cause: str, batches: Mapping[str, Sequence[str]], links: Mapping[str, str | None]
) -> str:
    """What was trained on, what was gained and lost, why it was promoted or not, what it cost, where to look."""
    made = "the base model" if outcome.parent == "base" else f"version {outcome.parent}"
    cost = f"{outcome.seconds:,.0f} s, {outcome.device_seconds:,.0f} s of them in stages that compute with a model"
    head = f"**{result(outcome).capitalize()}**, made from {made}. Started: {cause}. "
    found = [f"[{name}]({address})" for name, address in links.items() if address]
    parts = [
        f"{head}{outcome.tokens:,} tokens trained on; {cost}.",
        *(["See " + " · ".join(found)] if found else []),
        "### Gained and lost\nHold-out loss in nats per token; lower is better.\n\n" + _losses(outcome.rows),
        *(["\n".join(f"- {sentence}" for sentence in _gaps(outcome.gap))] if outcome.gap else []),
        "### Why\n" + "\n".join(f"- {reason}" for reason in shown_reasons(outcome)),
        *(["### Judged\n" + JUDGED + "\n\n" + _judged(outcome)] if outcome.comparisons else []),
        "### Trained on\nLoss tokens, achieved of planned.\n\n" + _mixture(outcome.rows),
        *(["\n".join(f"- {sentence}" for sentence in outcome.told)] if outcome.told else []),
        "### Data\n" + _records(outcome.rows, batches),
    ]
    return "\n\n".join(parts) + "\n"


def refresh_rows(outcome: Outcome) -> list[dict[str, Any]]:
    """The table of a refresh, a row for each task."""
    return [
        {
            "task": row.task,
            "before": _number(row.before),
            "after": _number(row.after),
            "change [95 %]": _change(row),
            "items": row.num_items,
            "tokens trained": row.achieved_tokens,
            "of them replayed": row.achieved_replay,
            "landed": row.landed,
            "kept": row.kept,
            "held out": row.held_out,
            "dropped": sum(row.dropped.values()),
            "quarantined": sum(row.quarantined.values()),
            "superseded": row.superseded,
        }
        for row in outcome.rows
    ]


def line_report(name: str, line: Line) -> str:
    """The history of a line: its newest versions, each with its verdict and what it scores."""
    versions = [point for point in line.points if point.verdict]
    served = f"version {line.champion}" if line.moves else "the base model"
    tasks = line.tasks
    rows = (
        (
            f"**{point.version}**" if point.version == line.champion else point.version,
            point.verdict,
            point.parent,
            point.time[:16].replace("T", " "),
            *(_number(point.losses.get(task)) for task in tasks),
            f"{point.tokens:,}",
            point.reason,
        )
        for point in reversed(versions[-SHOWN_VERSIONS:])
    )
    head = ("version", "verdict", "from", "when, UTC", *tasks, "tokens", "first reason")
    text = f"**{name}**: {served} serves. {len(versions)} versions; hold-out loss in nats per token by task.\n\n"
    return text + table(head, rows)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _losses(rows: Sequence[TaskRow]) -> str:
    head = ("task", "before", "after", "change [95 % interval]", "items", "")
    return table(
        head,
        (
            (row.task, _number(row.before), _number(row.after), _change(row), f"{row.num_items:,}", _word(row))
            for row in rows
        ),
    )


def shown_reasons(outcome: Outcome) -> list[str]:
    """The reasons, what decided first; of very many the first, and the last: what was held, what a repair did."""
    more = len(outcome.reasons) - SHOWN_REASONS
    if more <= 0:
        return list(outcome.reasons)
    last = SHOWN_REASONS // 4
    return [*outcome.reasons[: SHOWN_REASONS - last], f"and {more:,} more", *outcome.reasons[-last:]]


def judged_rows(outcome: Outcome) -> Iterator[tuple[str, ...]]:
    """Each test of the gate: what, against whom, the change, what is allowed, power, items, use, answer."""
    for each in outcome.comparisons[:SHOWN_COMPARISONS]:
        digits = 3 if each.unit == "nats" else 1
        ends = f"{each.change:+.{digits}f} [{each.low:+.{digits}f}, {each.high:+.{digits}f}]"
        place = {"group": " (group)", "suite": " (suite)", "task": "" if each.part == "anchor" else f" ({each.part})"}
        allowed = {"non-inferiority": f"{each.margin:.{digits}f}", "superiority": "a gain", "must-hold": "nothing"}
        use = outcome.uses.get(each.task) if each.part == "anchor" else None
        yield (
            f"{each.task}{place[each.scope]}",
            each.against,
            f"{ends} {'nats' if each.unit == 'nats' else 'points'}",
            allowed[each.kind],
            "–" if each.power is None else f"{each.power:.2f}",
            f"{each.num_items:,}",
            "–" if use is None else f"{use.mean:.1f}×",
            each.outcome + (f", {each.more_items:,} more items" if each.more_items else ""),
        )


JUDGED_HEAD = ("what", "against", "change [95 % interval]", "allowed", "power", "items", "used", "answer")


def _judged(outcome: Outcome) -> str:
    return table(JUDGED_HEAD, judged_rows(outcome))


def _gaps(found: Mapping[str, Gap]) -> Iterator[str]:
    """What happened to each task on the way, on its validation items."""
    for task, gap in found.items():
        if gap.depth_nats <= 0:
            yield f"{task}: never worse while training than before it."
            continue
        back = "was never back" if gap.recovery_steps is None else f"was back {gap.recovery_steps:,} steps later"
        worst = f"worse by {gap.depth_nats:.3f} nats per token at step {gap.worst_step:,} of training"
        yield f"{task}: {worst}, {back} (stability gap; area {gap.area_nats:.3g} nats per token × steps)."


def _word(row: TaskRow) -> str:
    """Gained or lost, where the interval says so."""
    if row.high is None or row.low is None:
        return ""
    return "gained" if row.high < 0 else "lost" if row.low > 0 else ""


def _mixture(rows: Sequence[TaskRow]) -> str:
    total = sum(row.achieved_tokens for row in rows) or 1
    planned = sum(row.planned_tokens for row in rows) or 1
    lines = [
        (
            row.task,
            f"{row.achieved_tokens - row.achieved_replay:,} of {row.planned_tokens - row.planned_replay:,}",
            f"{row.achieved_replay:,} of {row.planned_replay:,}",
            f"{row.achieved_tokens / total:.1%} (planned {row.planned_tokens / planned:.1%})",
        )
        for row in rows
        if row.planned_tokens or row.achieved_tokens
    ]
    return table(("task", "new", "replayed", "share"), lines)


def _records(rows: Sequence[TaskRow], batches: Mapping[str, Sequence[str]]) -> str:
    head = ("task", "batches", "landed", "kept", "held out", "dropped", "quarantined", "superseded")
    lines = (
        (
            row.task,
            _names(batches.get(row.task, ())),
            f"{row.landed:,}",
            f"{row.kept:,}",
            f"{row.held_out:,}",
            _reasons(row.dropped),
            _reasons(row.quarantined),
            f"{row.superseded:,}",
        )
        for row in rows
    )
    return table(head, lines)


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown or "none new"


def _reasons(reasons: Mapping[str, int]) -> str:
    counted = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
    return counted or "0"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _change(row: TaskRow) -> str:
    return "–" if row.change is None else f"{row.change:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
