"""The state of a workspace, in one value: the line, the last refreshes and their cost, what waits, health."""

import os
from datetime import UTC, datetime
from typing import Any

from pipelines.edge import landing, operations, versioning
from pipelines.edge.attempts import failures, running
from pipelines.edge.home import Home
from pipelines.edge.session import unconsumed
from pipelines.service.addresses import service
from pipelines.service.backlog import Backlog
from pipelines.service.inbox import read_memory
from pipelines.service.supervisor import healthy

LAST = 5


def report(home: Home) -> dict[str, Any]:
    """Everything that `perennial status` shows, and what `--json` gives."""
    found = operations.status(home)
    ledger = home.ledger()
    found["running"] = running(home)
    found["last"] = last_refreshes(ledger)
    found["backlog"] = _backlog(home, found["consumed"])
    found["held"] = _held(home, ledger)
    found["next"], found["schedules"] = _schedules(home)
    found["health"] = _health(home)
    return found


def last_refreshes(ledger: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ends of the last attempts, newest first: when, verdict, version, cause, cost."""
    causes = {event["attempt"]: event["cause"] for event in ledger if event["event"] == "attempt"}
    ends = [event for event in ledger if event["event"] in {"verdict", "failed", "stopped"}]
    rows = []
    for event in reversed(ends[-LAST:]):
        outcome = event.get("outcome") or {}
        rows.append(
            {
                "time": event["time"],
                "verdict": event.get("verdict", event["event"]),
                "version": event.get("version"),
                "parent": event.get("parent"),
                "attempt": event["attempt"],
                "cause": causes.get(event["attempt"], ""),
                "seconds": outcome.get("seconds", event.get("seconds")),
                "device_seconds": outcome.get("device_seconds"),
                "tokens": outcome.get("tokens"),
                "why": (event.get("reasons") or [event.get("error", "")])[0],
            }
        )
    return rows


def _backlog(home: Home, consumed: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    totals: dict[str, dict[str, Any]] = {}
    for one in Backlog(home).waiting(unconsumed(home, consumed), datetime.now(UTC)):
        total = totals.setdefault(one.task, {"batches": 0, "documents": 0, "tokens": 0, "oldest_seconds": 0.0})
        total["batches"] += 1
        total["documents"] += one.documents
        total["tokens"] += one.tokens
        total["oldest_seconds"] = max(total["oldest_seconds"], round(one.age_seconds, 1))
    return totals


def _held(home: Home, ledger: list[dict[str, Any]]) -> list[dict[str, Any]]:
    why = {(event["task"], event["batch"]): event for event in ledger if event["event"] in {"hold", "discard"}}
    return [
        {
            "task": task,
            "batch": batch,
            "state": state,
            "why": why[task, batch]["why"],
            "since": why[task, batch]["time"],
        }
        for (task, batch), state in sorted(home.held().items())
    ]


def _schedules(home: Home) -> tuple[str | None, dict[str, str]]:
    """The next scheduled run, and each schedule with its state; what cannot be known is left out."""
    states = dict.fromkeys(home.settings.schedules, "not served")
    if not os.environ.get("PREFECT_API_URL"):
        return None, states
    from pipelines.service import deployments

    try:
        found = deployments.find(home)
        runs = deployments.scheduled(home) if found else []
    except Exception:  # noqa: BLE001 (whatever a server that is away raises: health says so)
        return None, dict.fromkeys(states, "unknown: no answer from Prefect")
    if found is None:
        return None, states
    for rule in found.schedules:
        states[str(rule.slug)] = "paused" if found.paused or not rule.active else "active"
    now = datetime.now(UTC)
    coming = [run.expected_start_time for run in runs if run.expected_start_time and run.expected_start_time >= now]
    return (coming[0].isoformat(timespec="seconds") if coming else None), states


def _health(home: Home) -> dict[str, str]:
    """One word or sentence for each part: `ok`, or what is wrong."""
    up = service(home)
    found = {"service": "up" if up else "not up (`perennial up`)"}
    for name, variable, path in (
        ("prefect", "PREFECT_API_URL", "/health"),
        ("mlflow", "MLFLOW_TRACKING_URI", "/health"),
    ):
        address = os.environ.get(variable, "")
        if address.startswith("http"):
            found[name] = "ok" if healthy(address + path) else f"no answer from {address}"
        else:
            found[name] = "embedded" if name == "prefect" else "SQLite in the workspace"
    for name, part in (up or {}).get("parts", {}).items():
        if part["restarts"]:
            found[name] = f"started again {part['restarts']} times; see `perennial logs {name}`"
    for name, known in read_memory(home).inboxes.items():
        trouble = [known.problem] if known.problem else [f"{len(known.refused)} files refused"] if known.refused else []
        found[f"inbox {name}"] = trouble[0] if trouble else "ok"
    if versioning.push_waits(home.root):
        found["dvc remote"] = "a push waits for it"
    blamed = {f"{task}/{batch}": count for (task, batch), count in failures(home).items() if count}
    waiting = {f"{task}/{b.name}" for task in landing.load_tasks(home.root) for b in landing.batches(home.root, task)}
    for name in sorted(blamed.keys() & waiting):
        found[f"batch {name}"] = f"in {blamed[name]} failed attempts"
    return found
