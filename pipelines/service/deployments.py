"""The workspace's Prefect deployment: its schedules, the event that starts it, pausing, and the process that serves it.

There is one, `refresh/<workspace>`. Schedules are named after those of `perennial.yaml`. A refresh runs in a process
of its own, so it outlives the one that serves.
"""

import logging
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipelines.edge.home import Home
from pipelines.edge.orchestration import prepare_environment
from pipelines.edge.settings import Schedule

logger = logging.getLogger(__name__)
DUE = "perennial.refresh.due"
AT_ONCE = 200  # runs that the server is asked for; it gives no more


def resource(home: Home) -> str:
    """The id of a workspace in Prefect's events."""
    return f"perennial.{home.settings.name}"


def deployment(home: Home, paused: bool = False, inactive: Iterable[str] = ()) -> Any:
    """The deployment as the workspace's settings describe it."""
    from prefect.events import DeploymentEventTrigger
    from prefect.flows import EntrypointType

    from pipelines.service.flows import refresh_workspace

    trigger = DeploymentEventTrigger(
        name=f"{home.settings.name}: landed data starts a refresh",
        expect={DUE},
        match={"prefect.resource.id": resource(home)},
        parameters={"cause": "landing"},
    )
    off = set(inactive)
    return refresh_workspace.to_deployment(
        name=home.settings.name,
        description=f"Refreshes the model line of {home.root}.",
        tags=["perennial", home.settings.name],
        parameters={"workspace": str(home.root)},
        schedules=[_schedule(name, rule, name not in off) for name, rule in home.settings.schedules.items()],
        paused=paused,
        triggers=[trigger],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def _schedule(name: str, rule: Schedule, active: bool) -> Any:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule

    made: Any
    if rule.cron is not None:
        made = CronSchedule(cron=rule.cron, timezone=rule.timezone)
    elif rule.every is not None:
        made = IntervalSchedule(
            interval=rule.every, timezone=rule.timezone, anchor_date=datetime(2026, 1, 1, tzinfo=UTC)
        )
    else:
        made = RRuleSchedule(rrule=str(rule.rrule), timezone=rule.timezone)
    parameters: dict[str, Any] = {"cause": f"schedule:{name}"} | ({"recipe": rule.recipe} if rule.recipe else {})
    return DeploymentScheduleCreate(schedule=made, active=active, slug=name, parameters=parameters)


def find(home: Home) -> Any:
    """The deployment as the Prefect server knows it; none if it was never made.

    Raises:
        httpx.HTTPError: the server does not answer.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            return client.read_deployment_by_name(f"refresh/{home.settings.name}")
        except ObjectNotFound:
            return None


def set_paused(home: Home, paused: bool, schedule: str | None = None) -> str:
    """Pause or resume one schedule, or everything that starts refreshes by itself; returns a line for a person.

    Raises:
        ValueError: the workspace is not served yet, or has no such schedule.
    """
    from prefect.client.orchestration import get_client

    found = find(home)
    word = "paused" if paused else "resumed"
    if found is None:
        raise ValueError(f"{home.settings.name}: not served yet; start it with `perennial up`")
    with get_client(sync_client=True) as client:
        if schedule is None:
            (client.pause_deployment if paused else client.resume_deployment)(found.id)
            return f"{home.settings.name}: {word}"
        rules = {rule.slug: rule for rule in found.schedules}
        if schedule not in rules:
            known = ", ".join(sorted(filter(None, rules))) or "none"
            raise ValueError(f"{home.settings.name}: no schedule {schedule!r}; there are: {known}")
        client.update_deployment_schedule(found.id, rules[schedule].id, active=not paused)
    return f"{home.settings.name}, schedule {schedule}: {word}"


def scheduled(home: Home) -> list[Any]:
    """The runs that are to come, soonest first; those that were missed among them."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterId,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    found = find(home)
    if found is None:
        return []
    waits = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
    with get_client(sync_client=True) as client:
        runs: list[Any] = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=waits),
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[found.id])),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            limit=AT_ONCE,
        )
    return runs


def collapse_missed(home: Home, now: datetime) -> int:
    """Of the runs of one recipe whose time has passed keep the latest; returns how many were cancelled."""
    cancelled = 0
    while found := _collapse(home, now):  # the server tells of so many at a time
        cancelled += found
    return cancelled


def _collapse(home: Home, now: datetime) -> int:
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelled

    latest: dict[str, Any] = {}
    missed = [run for run in scheduled(home) if run.expected_start_time and run.expected_start_time < now]
    superseded = []
    for run in missed:
        recipe = str(run.parameters.get("recipe") or "")
        if recipe in latest:
            superseded.append(latest[recipe])
        latest[recipe] = run
    with get_client(sync_client=True) as client:
        for run in superseded:
            message = f"missed; run {latest[str(run.parameters.get('recipe') or '')].name} stands for it"
            client.set_flow_run_state(run.id, Cancelled(name="Missed", message=message), force=True)
    if superseded:
        logger.info("%d missed runs collapsed into %d", len(superseded), len(latest))
    return len(superseded)


def serve(home: Home) -> None:
    """Register the deployment and run what is due, one refresh at a time, until the process is ended."""
    from prefect import serve as serve_deployments

    before = find(home)
    collapse_missed(home, datetime.now(UTC) - timedelta(seconds=1))
    inactive = [rule.slug for rule in before.schedules if not rule.active] if before else []
    made = deployment(home, paused=bool(before and before.paused), inactive=inactive)
    serve_deployments(made, pause_on_shutdown=False, print_starting_message=False, limit=1)


def main(root: str) -> None:
    """What `python -m pipelines.service.deployments WORKSPACE` does: serve it."""
    prepare_environment(Path(root))
    serve(Home(Path(root)))


if __name__ == "__main__":
    main(sys.argv[1])
