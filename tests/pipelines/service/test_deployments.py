"""The deployment on a real Prefect server: schedules, pausing, missed runs, and the runs of dead processes."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psutil
import pytest
import yaml

from pipelines.edge import owners
from pipelines.edge.home import Home
from pipelines.service import deployments
from steps.core.shards import write_json
from tests.servers import prefect_server, running, until
from tests.workspaces import workspace

pytestmark = [pytest.mark.pipeline]
CONTENT = {
    "name": "demo",
    "schedules": {
        "nightly": {"cron": "0 2 * * *", "timezone": "Europe/Berlin"},
        "often": {"every": "6h", "recipe": "tiny"},
        "mondays": {"rrule": "FREQ=WEEKLY;BYDAY=MO;BYHOUR=3"},
    },
    "triggers": {"*": {"documents": 1}},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("deployments")
    home = workspace(folder / "w", documents=20)
    (home.root / "perennial.yaml").write_text(yaml.safe_dump(CONTENT), encoding="utf-8")
    with running(prefect_server(folder / "server")) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", f"{server.address}/api")
        patch.setenv("PREFECT_HOME", str(folder / "client"))
        yield home


@pytest.fixture(scope="module")
def applied(home: Home) -> UUID:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: os.environ["PREFECT_API_URL"]}):
        return deployments.deployment(home).apply()


@pytest.fixture(autouse=True)
def _this_server(home: Home) -> Iterator[None]:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: os.environ["PREFECT_API_URL"]}):
        yield


def flow_run(applied: UUID, state: Any, **parameters: Any) -> str:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        made = client.create_flow_run_from_deployment(applied, state=state, parameters=parameters)
        return str(made.id)


def state_of(run: str) -> tuple[str, str]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(run)).state
        return str(state.name), str(state.message)


def test_every_rule_of_the_settings_becomes_a_schedule(home: Home, applied: UUID) -> None:
    found = deployments.find(home)
    rules = {rule.slug: rule for rule in found.schedules}
    assert sorted(rules) == ["mondays", "nightly", "often"]
    assert (rules["nightly"].schedule.cron, rules["nightly"].schedule.timezone) == ("0 2 * * *", "Europe/Berlin")
    assert rules["often"].schedule.interval == timedelta(hours=6)
    assert rules["often"].parameters == {"cause": "schedule:often", "recipe": "tiny"}
    assert found.parameters == {"workspace": str(home.root)}


def test_the_next_runs_are_known(home: Home, applied: UUID) -> None:
    runs = until(lambda: deployments.scheduled(home), "scheduled runs")
    assert runs[0].expected_start_time > datetime.now(UTC)


def test_one_schedule_or_everything_is_paused_and_resumed(home: Home, applied: UUID) -> None:
    assert deployments.set_paused(home, paused=True, schedule="nightly").endswith("nightly: paused")
    active = {rule.slug: rule.active for rule in deployments.find(home).schedules}
    assert active == {"nightly": False, "often": True, "mondays": True}
    deployments.set_paused(home, paused=False, schedule="nightly")
    deployments.set_paused(home, paused=True)
    assert deployments.find(home).paused
    deployments.set_paused(home, paused=False)
    assert not deployments.find(home).paused
    with pytest.raises(ValueError, match="there are: mondays, nightly, often"):
        deployments.set_paused(home, paused=True, schedule="yearly")


def test_missed_runs_collapse_into_the_latest_however_many(
    home: Home, applied: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.states import Scheduled

    monkeypatch.setattr(deployments, "AT_ONCE", 3)
    now = datetime.now(UTC)
    missed = [flow_run(applied, Scheduled(scheduled_time=now - timedelta(hours=h))) for h in (5, 3, 1)]
    to_come = flow_run(applied, Scheduled(scheduled_time=now + timedelta(hours=1)))
    other = flow_run(applied, Scheduled(scheduled_time=now - timedelta(hours=4)), recipe="another")
    assert deployments.collapse_missed(home, now) == 2
    names = [state_of(run)[0] for run in [*missed, to_come, other]]
    assert names == ["Missed", "Missed", "Scheduled", "Scheduled", "Scheduled"], "each recipe keeps one"
    assert deployments.collapse_missed(home, now) == 0


def test_the_run_of_a_dead_process_is_crashed_and_that_of_a_living_one_is_not(home: Home, applied: UUID) -> None:
    from prefect.states import Running

    dead, living = flow_run(applied, Running()), flow_run(applied, Running())
    folder = home.hidden / "service" / "flows"
    write_json(folder / f"{dead}.json", {"pid": os.getpid(), "created": psutil.Process().create_time() - 1000})
    with owners.claim(home, living):
        assert owners.end_dead_flow_runs(home, str(applied)) == [dead]
        assert state_of(dead) == ("Crashed", "its process died")
        assert state_of(living)[0] == "Running"
        assert owners.end_dead_flow_runs(home, str(applied)) == []
    assert not list(folder.glob("*"))
