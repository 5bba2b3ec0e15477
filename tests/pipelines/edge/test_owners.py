"""Claims tell living runs from dead ones; MLflow runs left behind are ended. With Prefect: test_deployments."""

from pathlib import Path

import mlflow
import pytest

from pipelines.edge import owners
from pipelines.edge.home import Home
from pipelines.edge.registry import experiment_id


def test_a_claim_lasts_as_long_as_its_run(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with owners.claim(home, "run"):
        assert owners.claims(home) == {"run": True}
    assert owners.claims(home) == {}


@pytest.mark.parametrize("content", ["{", "[7]", "{}"])
def test_a_damaged_claim_is_that_of_a_dead_process(tmp_path: Path, content: str) -> None:
    home = Home(tmp_path)
    with owners.claim(home, "run"):
        (home.hidden / "service/flows/run.json").write_text(content, encoding="utf-8")
        assert owners.claims(home) == {"run": False}


def test_without_a_server_no_run_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert owners.end_dead_flow_runs(Home(tmp_path)) == []


def test_only_runs_of_attempts_are_killed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    experiment = experiment_id(home)
    client = mlflow.MlflowClient()
    left = client.create_run(experiment, tags={"perennial.attempt": "a"}).info.run_id
    ended = client.create_run(experiment, tags={"perennial.attempt": "b"}).info.run_id
    client.set_terminated(ended, "FINISHED")
    other = client.create_run(experiment).info.run_id
    assert owners.end_dead_mlflow_runs(home) == [left]
    states = {run: client.get_run(run).info.status for run in (left, ended, other)}
    assert states == {left: "KILLED", ended: "FINISHED", other: "RUNNING"}
