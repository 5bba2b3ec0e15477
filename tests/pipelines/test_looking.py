"""What a person sees of a refresh: in MLflow's file, and through the two real servers."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.edge.home import Home
from pipelines.edge.outcome import Outcome
from pipelines.edge.registry import Registry, experiment_id
from tests.pipelines.test_kill import begun, finish, start, told
from tests.servers import mlflow_server, prefect_server, running
from tests.workspaces import land_rows, rows, run, tiny, workspace

BARS = ("train-progress", "evaluate-progress", "compare-progress")
LENIENT = {"superiority": "not-required", "margin_nats": 5.0}
FIRST = [
    "1 ingest statements",
    "1 ingest types",
    "1 ingest general",
    "2 split",
    "3 clean",
    "4 select",
    "5 plan",
    "6 mix",
    "7 train",
    "8 merge",
    "9 evaluate base",
    "9 evaluate candidate",
    "10 gate",
    "11 compare",
    "12 replay",
    "13 conclude",
]


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Outcome, Outcome]:
    """A workspace after two refreshes; tests that use it only read."""
    home = workspace(tmp_path_factory.mktemp("looked"), documents=60)
    first = run(home, cause="landing")
    land_rows(home, "types", rows("types", 60, 20))
    return home, first, run(home, tiny(gate=LENIENT), cause="schedule:nightly")


def children(home: Home, run_id: str) -> list[Any]:
    """The child runs, in the order in which they began."""
    found: list[Any] = Registry(home).client.search_runs(
        [experiment_id(home)],
        filter_string=f"tags.`mlflow.parentRunId` = '{run_id}'",
        order_by=["attributes.start_time ASC"],
    )
    return found


@pytest.mark.pipeline
def test_every_stage_is_a_child_run_in_order(looked: tuple[Home, Outcome, Outcome]) -> None:
    home, first, second = looked
    made = children(home, first.run_id)
    assert [child.info.run_name for child in made] == FIRST
    assert {child.info.status for child in made} == {"FINISHED"}
    clean = next(child.data for child in made if child.info.run_name == "3 clean")
    assert clean.metrics["clean/kept_types"] > 0
    assert clean.metrics["seconds"] > 0
    assert clean.tags["perennial.path"] == "data/clean"
    assert all(name.startswith("recipe.clean.") for name in clean.params)
    judged = [child.info.run_name for child in children(home, second.run_id) if "evaluate" in child.info.run_name]
    assert judged == ["9 evaluate champion, version 1", "9 evaluate candidate", "9 evaluate base"]


@pytest.mark.pipeline
def test_the_run_says_what_went_in_what_came_out_and_why(looked: tuple[Home, Outcome, Outcome]) -> None:
    home, first, second = looked
    client = Registry(home).client
    parent = client.get_run(first.run_id)
    assert parent.info.run_name == f"version 1 accepted · {home.settings.name} tiny · attempt {first.attempt[:8]}"
    wanted = {"verdict": "accepted", "version": "1", "parent": "base", "cause": "landing"}
    assert {name: parent.data.tags[f"perennial.{name}"] for name in wanted} == wanted
    text = parent.data.tags["mlflow.note.content"]
    for words in ("**Version 1 accepted**, made from the base model", "| types |", "### Why", *first.reasons, "`0001-"):
        assert words in text
    version = client.get_model_version(home.settings.name, "2")
    assert "**Version 2 accepted**, made from version 1. Started: schedule:nightly." in version.description
    assert "**2** | accepted | 1 |" in client.get_registered_model(home.settings.name).description
    assert client.get_run(second.run_id).data.metrics["cost/tokens"] == second.tokens > 0


@pytest.mark.pipeline
def test_what_training_says_of_its_steps_is_in_the_run(looked: tuple[Home, Outcome, Outcome]) -> None:
    home, first, _ = looked
    client = Registry(home).client

    def told(name: str) -> list[int]:
        return sorted(metric.step for metric in client.get_metric_history(first.run_id, f"train/{name}"))

    steps = told("loss_nats_per_token")
    assert steps == list(range(1, len(steps) + 1))
    for name in ("learning_rate", "gradient_norm", "tokens_per_second", "memory_mb"):
        assert told(name) == steps, name
    assert told("update_norm") == [step for step in steps if step % 10 == 0]
    assert {0, steps[-1]} <= set(told("validation_types"))


@pytest.mark.pipeline
def test_the_ledger_tells_what_a_refresh_cost(looked: tuple[Home, Outcome, Outcome]) -> None:
    home, first, _ = looked
    cost = next(event["outcome"] for event in home.ledger() if event["event"] == "verdict")
    assert cost["tokens"] == first.tokens == sum(row.achieved_tokens for row in first.rows)
    assert 0 < cost["device_seconds"] <= cost["seconds"]


@pytest.mark.pipeline
def test_one_run_shows_the_whole_line(looked: tuple[Home, Outcome, Outcome]) -> None:
    home, first, second = looked
    client = Registry(home).client
    (line,) = client.search_runs([experiment_id(home)], filter_string="tags.`perennial.line` = 'true'")
    history = client.get_metric_history(line.info.run_id, "loss_nats_per_token/types")
    after = [next(row.after for row in outcome.rows if row.task == "types") for outcome in (first, second)]
    assert [(metric.step, metric.value) for metric in history[1:]] == [(1, after[0]), (2, after[1])]
    assert client.get_metric_history(line.info.run_id, "transfer/backward_transfer")
    found = [file.path for folder in ("", "plots") for file in client.list_artifacts(line.info.run_id, folder)]
    assert {"plots/matrix.png", "plots/curves.png", "matrix.json"} <= set(found)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_refresh_that_is_stopped_leaves_nothing_running_and_goes_on_in_the_same_runs(
    tmp_path: Path, how: signal.Signals
) -> None:
    if signal.getsignal(how) is signal.SIG_IGN:
        pytest.skip("what runs in the background hears no Ctrl-C, nor do its children")
    home = workspace(tmp_path, documents=60)
    process, under_way = start(home, "refresh", "tiny"), begun(home, "train")
    while not under_way():
        assert process.poll() is None, told(home)
        time.sleep(0.01)
    process.send_signal(how)
    assert process.wait(60) != 0
    assert "stopped; run the same command again" in told(home)
    client = Registry(home).client
    stopped = client.search_runs([experiment_id(home)])
    assert {each.info.status for each in stopped} == {"FINISHED", "KILLED"}
    finish(home, "refresh", "tiny")
    ended = client.search_runs([experiment_id(home)])
    assert {each.info.status for each in ended} == {"FINISHED"}
    assert {each.info.run_id for each in stopped} < {each.info.run_id for each in ended}
    names = sorted(each.info.run_name for each in ended if "mlflow.parentRunId" in each.data.tags)
    assert names == sorted(FIRST), "no stage has two runs"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_refresh_ends_as_ever_though_prefects_server_dies_under_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = workspace(tmp_path / "workspace", documents=60)
    with running(prefect_server(tmp_path / "prefect")) as server:
        monkeypatch.setenv("PREFECT_API_URL", f"{server.address}/api")
        process, under_way = start(home, "refresh", "tiny"), begun(home, "train")
        while not under_way():
            assert process.poll() is None, told(home)
            time.sleep(0.01)
        server.end()
        assert process.wait(240) == 0, told(home)
    assert [event["verdict"] for event in home.ledger() if event["event"] == "verdict"] == ["accepted"]
    assert Registry(home).champion() == "1"


Seen = tuple[Home, str, str]  # the workspace, Prefect's address, MLflow's


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """Two real servers after one refresh by the command line."""
    folder = tmp_path_factory.mktemp("served")
    with running(prefect_server(folder / "prefect")) as prefect, running(mlflow_server(folder / "mlflow")) as mlflow:
        addresses = {"PREFECT_API_URL": f"{prefect.address}/api", "MLFLOW_TRACKING_URI": mlflow.address}
        before = {name: os.environ.get(name) for name in addresses}
        os.environ.update(addresses)
        try:
            home = workspace(folder / "workspace", documents=60)
            finish(home, "refresh", "tiny")
            yield home, prefect.address, mlflow.address
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def asked(address: str, body: Any = None) -> Any:
    """What a server answers."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def run_of(home: Home) -> Any:
    """The MLflow run of the workspace's one refresh."""
    client = Registry(home).client
    (found,) = client.search_runs([experiment_id(home)], filter_string="tags.`perennial.verdict` = 'accepted'")
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_prefect_shows_stages_progress_report_and_table_with_a_link_to_mlflow(served: Seen) -> None:
    home, prefect, mlflow = served
    (flow,) = asked(f"{prefect}/api/flow_runs/filter", {})
    assert flow["state"]["name"] == "Accepted"
    tasks = asked(f"{prefect}/api/task_runs/filter", {})
    assert sorted(task["name"] for task in tasks) == sorted(name.split(" ", 1)[1] for name in FIRST)
    artifacts = asked(f"{prefect}/api/artifacts/filter", {})
    assert {artifact["flow_run_id"] for artifact in artifacts} == {flow["id"]}
    found = {artifact["key"]: artifact for artifact in artifacts}
    assert {*("refresh-report", "refresh-table", "refresh-contrasts", "mlflow-run"), *BARS} == set(found)
    assert found["train-progress"]["data"] == 100.0
    assert [row["task"] for row in json.loads(found["refresh-table"]["data"])] == ["statements", "types", "general"]
    parent = run_of(home)
    page = f"{mlflow}/#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}?workflowType=machine_learning"
    assert f"[the MLflow run]({page})" in found["refresh-report"]["data"]
    assert page in found["mlflow-run"]["data"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_mlflow_links_to_prefect_and_serves_what_lies_in_the_workspace(served: Seen) -> None:
    home, prefect, mlflow = served
    parent = run_of(home)
    (flow,) = asked(f"{prefect}/api/flow_runs/filter", {})
    page = f"{prefect}/runs/flow-run/{flow['id']}"
    assert parent.data.tags["perennial.prefect_run"] == page
    assert f"[the Prefect run]({page})" in parent.data.tags["mlflow.note.content"]
    listed = asked(f"{mlflow}/api/2.0/mlflow/artifacts/list?run_id={parent.info.run_id}&path=plots")
    assert "plots/matrix.png" in [file["path"] for file in listed["files"]]
    picture = f"{mlflow}/get-artifact?path=plots/matrix.png&run_uuid={parent.info.run_id}"
    with urllib.request.urlopen(picture, timeout=30) as answer:
        assert answer.read(4) == b"\x89PNG"
    assert Registry(home).folder("1").is_relative_to(home.root)
    weights = {(file.stat().st_dev, file.stat().st_ino) for file in home.root.rglob("model.safetensors")}
    assert len(weights) == 2, "the base and version 1: a server on this machine makes no copy"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_json_object_and_nothing_else_is_printed(served: Seen) -> None:
    home = served[0]
    words = [sys.executable, "-c", "from pipelines.cli import main; main()", "-w", str(home.root)]
    done = subprocess.run([*words, "refresh", "tiny", "--json"], capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["kind"] == "unchanged", done.stderr
