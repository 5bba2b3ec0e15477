"""The line's own run: every version at its step, drawn in full each time, never twice; no obstacle to a refresh."""

import json
from typing import Any

import pytest

from pipelines.edge.home import Home
from pipelines.edge.overview import publish
from pipelines.edge.registry import Registry, experiment_id
from tests.pipelines.edge.test_line import LEDGER


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry whose ledger tells of three versions, drawn once."""
    home = Home(tmp_path_factory.mktemp("line"))
    home.ledger_file.parent.mkdir(parents=True)
    home.ledger_file.write_text("".join(json.dumps(event) + "\n" for event in LEDGER))
    lines = Registry(home)
    lines.client.create_registered_model(lines.name)
    publish(home, lines)
    return lines


def lines_of(registry: Registry) -> list[Any]:
    found: list[Any] = registry.client.search_runs(
        [experiment_id(registry.home)], filter_string="tags.`perennial.line` = 'true'"
    )
    return found


def test_every_version_is_a_step_of_its_charts(registry: Registry) -> None:
    (run,) = lines_of(registry)
    assert (run.info.run_name, run.info.status) == ("perennial line", "FINISHED")
    history = registry.client.get_metric_history(run.info.run_id, "loss_nats_per_token/wiki")
    assert [(metric.step, metric.value) for metric in history] == [(0, 5.0), (1, 4.0), (2, 4.5), (3, 3.5)]
    assert registry.client.get_metric_history(run.info.run_id, "transfer/backward_transfer")[-1].step == 3
    assert run.data.tags["perennial.champion"] == "1"
    assert "**1**" in run.data.tags["mlflow.note.content"]
    assert "**1**" in registry.client.get_registered_model(registry.name).description


def test_drawn_again_it_is_the_same_run_and_no_point_is_doubled(registry: Registry) -> None:
    publish(registry.home, registry)
    (run,) = lines_of(registry)
    for name in run.data.metrics:
        steps = [metric.step for metric in registry.client.get_metric_history(run.info.run_id, name)]
        assert len(steps) == len(set(steps)), name
    files = {file.path for file in registry.client.list_artifacts(run.info.run_id, "plots")}
    assert files == {"plots/matrix.png", "plots/curves.png", "plots/learning.png"}


def test_the_table_holds_the_matrix_with_all_that_belongs_to_a_version(registry: Registry) -> None:
    from mlflow.artifacts import load_dict

    (run,) = lines_of(registry)
    table = load_dict(f"{run.info.artifact_uri}/matrix.json")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [(row["version"], row["verdict"], row["wiki"], row["law"]) for row in rows] == [
        ("base", "", 5.0, None),
        ("1", "champion", 4.0, 6.0),
        ("2", "rejected", 4.5, None),
        ("3", "accepted", 3.5, 5.0),
    ]


def test_a_picture_that_cannot_be_drawn_is_told_of_and_breaks_nothing(
    registry: Registry, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry.client, "log_figure", lambda *_: 1 / 0)
    publish(registry.home, registry)
    assert "the next refresh draws it" in caplog.text
