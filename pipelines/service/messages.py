"""What is said about a ledger's event: words for people, and events for Prefect."""

import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.edge.home import Home
from pipelines.edge.passwords import without_password
from pipelines.edge.tracking import page
from steps.core.shards import canonical_json, digest_of

MAX_BYTES = 90_000  # of a Prefect event's payload
OURS = uuid.UUID("6f0b8a2e-6a55-4c0e-9a5d-1f6d9a6f7c11")  # any constant: an event told twice has one id, so one effect
Event = Mapping[str, Any]


@dataclass(frozen=True)
class Message:
    """What a person gets; the body is Markdown that also reads well as plain text."""

    subject: str
    body: str


def identity(event: Event) -> str:
    """What `told` calls an event of the ledger by."""
    return digest_of(dict(event))[:16]


def word(event: Event) -> str | None:
    """What is told of an event: a verdict, `failed`, `held`, `stale`, `moved`; nothing is told of the others."""
    match event["event"]:
        case "verdict":
            return str(event["verdict"])
        case "failed" | "stale":
            return str(event["event"])
        case "hold" if event.get("by_rule"):  # a person who holds a batch need not be told
            return "held"
        case "alias" if event["alias"] == "champion":
            return "moved"
    return None


def message(home: Home, event: Event) -> Message:
    """The words for people."""
    name, said = home.settings.name, word(event)
    lines: list[str]
    if said == "failed":
        subject = f"a refresh failed ({event['kind']})"
        blamed = [f"{task}: {', '.join(names)}" for task, names in event.get("blamed", {}).items()]
        lines = [event["error"], *(f"- blamed: {each}" for each in blamed), _next("perennial refresh")]
    elif said == "held":
        place = f"{event['task']} {event['batch']}"
        subject = f"batch {event['batch']} of {event['task']} is held"
        lines = [event["why"], _next(f'perennial release {place} --why "…"', f'perennial discard {place} --why "…"')]
    elif said == "stale":
        subject = f"no refresh was accepted for {event['days']:.0f} days"
        lines = [f"It is waited for since {event['since']}.", _next("perennial status")]
    else:
        subject = f"version {event['version']} was {said}"
        outcome = event.get("outcome") or {}
        table = "\n".join(_table(outcome.get("rows") or ()))
        reasons = "\n".join(f"- {reason}" for reason in event["reasons"])
        made_from = f"Made from {event['parent']}, attempt {event['attempt'][:8]}."
        lines = [reasons, table, made_from, *links(event), _next(*_commands(event))]
    body = "\n\n".join(line for line in lines if line)
    return Message(f"{name}: {subject}", f"**{name}: {subject}**\n\n{body}\n")


def prefect_events(home: Home, event: Event, ledger: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The events for Prefect: one, and the champion's move with an accepted verdict that a crash left without it."""
    said = word(event)
    if said == "moved":
        yield _event(home, event, "perennial.champion.moved", _moved(home, event["before"], event["after"]))
        return
    kind = "batch" if said == "held" else "refresh"
    yield _event(home, event, f"perennial.{kind}.{said}", _payload(event))
    if said == "accepted" and not any(word(e) == "moved" and e["after"] == event["version"] for e in ledger):
        before = None if event["parent"] == "base" else event["parent"]
        yield _event(home, event, "perennial.champion.moved", _moved(home, before, event["version"]))


def _event(home: Home, event: Event, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    settings, flow_run = home.settings, event.get("flow_run")
    related = [{"prefect.resource.id": f"prefect.flow-run.{flow_run}", "prefect.resource.role": "flow-run"}]
    return {
        "id": str(uuid.uuid5(OURS, f"{identity(event)} {name}")),
        "event": name,
        "occurred": event["time"],
        "resource": {"prefect.resource.id": f"perennial.{settings.name}", "prefect.resource.name": settings.name},
        "related": related if flow_run else [],
        "payload": {"workspace": settings.name, **payload},
    }


def _payload(event: Event) -> dict[str, Any]:
    """An event's facts, without what is long; the table's last rows make room where it is."""
    payload = {key: value for key, value in event.items() if key not in {"event", "time", "who", "outcome"}}
    outcome = event.get("outcome") or {}
    if outcome.get("run_id"):
        payload |= {"run_id": outcome["run_id"], "run_url": page(f"runs/{outcome['run_id']}")}
    if event["event"] == "verdict":
        payload["rows"] = list(outcome.get("rows") or ())
    while len(canonical_json(payload).encode()) > MAX_BYTES and payload.get("rows"):
        payload["rows"] = payload["rows"][:-1]
        payload["rows_left_out"] = payload.get("rows_left_out", 0) + 1
    return payload


def _moved(home: Home, before: str | None, after: str | None) -> dict[str, Any]:
    """What a server of the model needs: the address of the new champion, and the digest of its weights."""
    from pipelines.edge.registry import Registry

    name = home.settings.name
    payload: dict[str, Any] = {"before": before, "after": after, "model": f"models:/{name}@champion"}
    if after is not None:
        version = Registry(home).get(after)
        payload |= {"version": f"models:/{name}/{after}", "weights": version.tags.get("perennial.weights")}
    return payload


def _table(rows: Any) -> Iterator[str]:
    """The run's table; its columns are padded, so that it can be read where Markdown is not shown."""
    cells = [("task", "before", "after", "change [95 %]", "tokens")]
    for row in rows:
        change = "-" if row["change"] is None else f"{row['change']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
        losses = ("-" if row[key] is None else f"{row[key]:.3f}" for key in ("before", "after"))
        cells.append((row["task"], *losses, change, f"{row['achieved_tokens']:,}"))
    if len(cells) == 1:
        return
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    for number, line in enumerate(cells):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        if number == 0:
            yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"


def links(event: Event) -> Iterator[str]:
    """Where to look: the MLflow run and the Prefect flow run, where servers show them."""
    run_id, flow_run = (event.get("outcome") or {}).get("run_id"), event.get("flow_run")
    if run_id and (shown := page(f"runs/{run_id}")):
        yield f"Run: {shown}"
    server = without_password(os.environ.get("PREFECT_UI_URL") or os.environ.get("PREFECT_API_URL", ""))
    if flow_run and server:
        yield f"Flow run: {server.rstrip('/').removesuffix('/api')}/runs/flow-run/{flow_run}"


def _commands(event: Event) -> tuple[str, ...]:
    """What a person may want to do after a verdict."""
    number = event["version"]
    if event["verdict"] == "accepted":
        return ("perennial status", 'perennial rollback --why "…"')
    if event["verdict"] == "undecided" and not str(event["reasons"][:1]).startswith("['champion moved"):
        return (f'perennial promote {number} --why "…"',)
    return ("perennial status", "perennial refresh")


def _next(*commands: str) -> str:
    return "Next: " + " or ".join(f"`{command}`" for command in commands)
