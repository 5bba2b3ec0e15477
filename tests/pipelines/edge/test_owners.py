"""Claims tell living runs from dead ones; MLflow runs left behind are ended. With Prefect: test_deployments."""

from pathlib import Path

import mlflow
import pytest

from pipelines.edge import owners
from pipelines.edge.attempts import Running
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


def test_a_process_of_another_host_lives_while_the_workspace_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    with monkeypatch.context() as elsewhere, owners.claim(home, "kept open"):
        elsewhere.setattr("socket.gethostname", lambda: "elsewhere")
        assert owners.claims(home) == {"kept open": False}
        with home.lock():
            assert owners.claims(home) == {"kept open": True}


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


def test_a_run_whose_attempt_was_judged_is_finished_and_one_under_way_is_left_alone(tmp_path: Path) -> None:
    home = Home(tmp_path)
    experiment, client = experiment_id(home), mlflow.MlflowClient()
    judged = client.create_run(experiment, tags={"perennial.attempt": "a"}).info.run_id
    child = client.create_run(experiment, tags={"mlflow.parentRunId": judged, "perennial.stage": "gate"}).info.run_id
    home.record("verdict", attempt="a", verdict="accepted", version="1")
    with Running(home).as_owner("b", {}):
        assert owners.end_dead_mlflow_runs(home, alone=False) == []
    assert set(owners.end_dead_mlflow_runs(home, alone=False)) == {judged, child}
    assert {client.get_run(run).info.status for run in (judged, child)} == {"FINISHED"}
