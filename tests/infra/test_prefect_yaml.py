"""infra/prefect.yaml, as Prefect's own loader and models read it."""

import inspect
from typing import Any

import pytest
import yaml

from tests.infra import compose


@pytest.fixture(scope="module")
def deployments() -> dict[str, dict[str, Any]]:
    from prefect.cli.deploy._models import PrefectYamlModel

    content = yaml.safe_load((compose.INFRA / "prefect.yaml").read_text(encoding="utf-8"))
    model = PrefectYamlModel.model_validate(content)
    assert model.pull == []
    return {str(found.name): found.model_dump(mode="json", exclude_unset=True) for found in model.deployments}


def test_there_is_one_for_processes_and_one_for_kubernetes(deployments: dict[str, dict[str, Any]]) -> None:
    pools = {name: deployment["work_pool"]["name"] for name, deployment in deployments.items()}
    assert pools == {"perennial": "perennial", "perennial-kubernetes": "perennial-kubernetes"}


def test_their_flow_exists_and_takes_what_they_give(deployments: dict[str, dict[str, Any]]) -> None:
    from prefect.flows import load_flow_from_entrypoint

    given: set[str] = set()
    for deployment in deployments.values():
        given |= set(deployment["parameters"])
        for start in (*deployment["schedules"], *deployment["triggers"]):
            given |= set(start["parameters"])
    (entrypoint,) = {deployment["entrypoint"] for deployment in deployments.values()}
    flow: Any = load_flow_from_entrypoint(str(compose.ROOT / entrypoint))
    assert flow.name == "refresh"
    assert given <= set(inspect.signature(flow.fn).parameters)


def test_each_starts_on_the_event_of_its_own_workspace(deployments: dict[str, dict[str, Any]]) -> None:
    from prefect.events import DeploymentEventTrigger

    from pipelines.service.deployments import DUE

    for name, deployment in deployments.items():
        (trigger,) = [DeploymentEventTrigger.model_validate(trigger) for trigger in deployment["triggers"]]
        assert trigger.expect == {DUE}
        assert trigger.match.root == {"prefect.resource.id": f"perennial.{name}"}


def test_schedules_can_be_paused_by_their_names(deployments: dict[str, dict[str, Any]]) -> None:
    from prefect.cli.deploy._schedules import _schedule_config_to_deployment_schedule

    for deployment in deployments.values():
        for schedule in deployment["schedules"]:
            made: Any = _schedule_config_to_deployment_schedule(schedule)
            assert made["parameters"]["cause"] == f"schedule:{made['slug']}"
