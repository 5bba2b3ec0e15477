"""What goes on a chart; and a run with its children, which a crash neither doubles nor leaves running."""

from typing import Any

import pytest

from pipelines.edge.home import Home
from pipelines.edge.tracking import (
    NOTE,
    NOTE_CHARACTERS,
    Tracker,
    artifact_path,
    counts,
    end_run,
    flatten,
    page,
    scores,
    shortened,
)
from steps.core.artifacts import (
    Chosen,
    Corpus,
    Gap,
    MixturePlan,
    Model,
    Report,
    SuiteScore,
    TaskFacts,
    Trained,
    TrainingState,
)

CORPUS = Corpus(
    digest="d",
    task=TaskFacts(name="wiki"),
    path="data/ingest/wiki",
    num_landed=5,
    num_documents=3,
    quarantined={"not-json": 1, "nan": 1},
)


def test_a_nested_recipe_becomes_dotted_parameters() -> None:
    assert flatten({"train": {"params": {"method": "lora"}}, "seed": 1}) == {"train.params.method": "lora", "seed": 1}


def test_counts_are_named_after_stage_and_task() -> None:
    found = counts("ingest", CORPUS)
    assert found == {"ingest/landed_wiki": 5.0, "ingest/documents_wiki": 3.0, "ingest/quarantined_wiki": 2.0}


def test_suites_are_scores_of_the_model() -> None:
    suite = SuiteScore(metric="accuracy", score=0.75, num_items=4)
    report = Report(digest="d", path="p", model="m", anchor={}, fresh={}, suites={"facts/trained/generation": suite})
    assert scores(report) == {"evaluate/suite_facts_trained_generation": 0.75}


def test_only_data_is_logged_as_a_data_set() -> None:
    assert artifact_path(CORPUS) == "data/ingest/wiki"
    assert artifact_path(MixturePlan(digest="d", tokens={}, replay_share=0.0)) is None


def test_what_was_passed_over_is_counted() -> None:
    wiki = TaskFacts(name="wiki")
    chosen = Chosen(
        digest="d",
        path="data/select",
        tasks=(wiki,),
        num_documents={"wiki": 3},
        num_tokens={"wiki": 70},
        stale=(),
        left={"wiki": 5},
    )
    assert counts("select", chosen) == {"select/tokens_wiki": 70.0, "select/chosen_wiki": 3.0, "select/left_wiki": 5.0}


def test_a_plan_is_a_chart_too() -> None:
    found = counts("plan", MixturePlan(digest="d", tokens={"new/wiki": 30, "replay/law": 10}, replay_share=0.25))
    assert found == {"plan/planned_new_wiki": 30.0, "plan/planned_replay_law": 10.0, "plan/replay_share": 0.25}


def test_the_stages_of_a_plan_are_charts_too() -> None:
    stages = {"new/wiki": 20}, {"new/wiki": 10, "replay/law": 10}
    tokens = {"new/wiki": 30, "replay/law": 10}
    found = counts("plan", MixturePlan(digest="d", tokens=tokens, replay_share=0.25, stages=stages))
    assert found["plan/planned_stage_1_new_wiki"] == 20
    assert found["plan/planned_stage_2_replay_law"] == 10


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("tracking"))


def begun(home: Home, attempt: str) -> Tracker:
    return Tracker(home, attempt, "mine tiny", {"perennial.cause": "by hand"})


def runs(tracker: Tracker) -> list[tuple[str, str]]:
    """An attempt's run and its children in order: name and state."""
    ours = f"tags.`mlflow.parentRunId` = '{tracker.run_id}'"
    order = ["attributes.start_time ASC"]
    found = tracker.client.search_runs([tracker.experiment], filter_string=ours, order_by=order)
    return [(run.info.run_name, run.info.status) for run in [tracker.client.get_run(tracker.run_id), *found]]


def child(tracker: Tracker, stage: str) -> Any:
    ours = f"tags.`mlflow.parentRunId` = '{tracker.run_id}' and tags.`perennial.stage` = '{stage}'"
    (found,) = tracker.client.search_runs([tracker.experiment], filter_string=ours)
    return found.data


def test_the_stability_gap_is_counted_and_a_recovery_only_where_there_was_one() -> None:
    gap = {
        "wiki": Gap(depth_nats=0.5, worst_step=4, recovery_steps=12, area_nats=3.0),
        "law": Gap(depth_nats=0.1, worst_step=2, recovery_steps=None, area_nats=1.0),
    }
    model, state = Model(digest="m", path="m", num_parameters=1), TrainingState(digest="s")
    trained = Trained(digest="d", model=model, state=state, num_steps=16, history="h", gap=gap)
    assert counts("train", trained) == {
        "train/steps": 16.0,
        "train/gap_depth_wiki": 0.5,
        "train/gap_depth_law": 0.1,
        "train/gap_worst_step_wiki": 4.0,
        "train/gap_worst_step_law": 2.0,
        "train/gap_recovery_wiki": 12.0,
        "train/gap_area_wiki": 3.0,
        "train/gap_area_law": 1.0,
    }


def test_a_stage_is_a_child_with_its_section_its_counts_and_its_seconds(home: Home) -> None:
    tracker = begun(home, "whole")
    tracker.begin("ingest/wiki", "1 ingest wiki", {"reader": {"method": "jsonl"}})
    tracker.stage("ingest/wiki", CORPUS, 1.5)
    tracker.describe("# What happened", "version 3 accepted")
    tracker.end("FINISHED")
    assert runs(tracker) == [
        ("version 3 accepted · mine tiny · attempt whole", "FINISHED"),
        ("1 ingest wiki", "FINISHED"),
    ]
    ingest = child(tracker, "ingest/wiki")
    assert ingest.params == {"recipe.ingest.reader.method": "jsonl"}
    assert (ingest.metrics["seconds"], ingest.metrics["ingest/documents_wiki"]) == (1.5, 3.0)
    assert (ingest.tags["perennial.made"], ingest.tags["perennial.path"]) == ("made", "data/ingest/wiki")
    assert tracker.client.get_run(tracker.run_id).data.tags[NOTE] == "# What happened"


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_a_stage_that_broke_or_was_stopped_is_not_left_running(home: Home, status: str) -> None:
    tracker = begun(home, status)
    tracker.begin("train", "7 train", {})
    tracker.end(status)
    assert [state for _, state in runs(tracker)] == [status, status]


def test_after_a_crash_the_same_runs_go_on(home: Home) -> None:
    first = begun(home, "crashed")
    first.begin("ingest/wiki", "1 ingest wiki", {})
    first.stage("ingest/wiki", CORPUS, 1.5)
    first.begin("train", "7 train", {"steps": 3})
    second = begun(home, "crashed")  # the first one's process is gone
    assert second.run_id == first.run_id
    assert second.finished("ingest/wiki")
    assert not second.finished("train")
    second.stage("ingest/wiki", CORPUS, None)
    second.begin("train", "7 train", {"steps": 3})
    second.end("FINISHED")
    assert [name for name, _ in runs(second)] == ["mine tiny · attempt crashed", "1 ingest wiki", "7 train"]
    assert {state for _, state in runs(second)} == {"FINISHED"}
    assert child(second, "ingest/wiki").tags["perennial.made"] == "made", "who made it is not forgotten"


def test_the_runs_of_a_dead_process_are_ended_together(home: Home) -> None:
    tracker = begun(home, "dead")
    tracker.begin("train", "7 train", {})
    end_run(tracker.client, tracker.run_id, "KILLED")
    assert {state for _, state in runs(tracker)} == {"KILLED"}
    tracker.end("KILLED")


def test_a_page_is_named_without_a_password_and_only_where_there_is_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert page("runs/1") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example/behind/")
    assert page("runs/1") == "https://mlflow.example/behind/#/runs/1?workflowType=machine_learning"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert page("runs/1") == "http://127.0.0.1:5000/#/runs/1?workflowType=machine_learning"
    monkeypatch.setenv("PERENNIAL_MLFLOW_UI", "https://mlflow.example.org")
    assert page("runs/1") == "https://mlflow.example.org/#/runs/1?workflowType=machine_learning", "as people reach it"


def test_a_long_description_is_cut_between_two_lines() -> None:
    text = "\n".join(f"line {n}" for n in range(2000))
    cut = shortened(text)
    assert len(cut) <= NOTE_CHARACTERS
    assert cut.endswith("… the rest is in report.md")
    assert text.startswith(cut.split("\n\n")[0] + "\n")
    assert shortened("short") == "short"
