"""Whole refreshes on the tiny model and real text: everything is real but the size, and Prefect is left out."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.edge import landing
from pipelines.edge.home import Home
from pipelines.edge.lineage import base_of
from pipelines.edge.operations import promote_by_hand, reproduce, roll_back, set_aside
from pipelines.edge.outcome import Outcome
from pipelines.edge.registry import WEIGHTS, Registry
from pipelines.edge.session import Session, pending
from steps.core.shards import read_lines
from tests.workspaces import NO_REPLAY, NOW, land_rows, paragraphs, rows, run, tiny, workspace, write_rows

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Outcome]:
    """A workspace after its first refresh; tests that use it only read."""
    home = workspace(tmp_path_factory.mktemp("first"))
    return home, run(home)


def texts_of(home: Home, stage: str, task: str) -> set[str]:
    return {row["text"] for row in read_lines(home.root / "data" / stage / task / "documents.jsonl")}


def trees(*folders: Path) -> dict[str, bytes]:
    return {str(f): f.read_bytes() for folder in folders for f in sorted(folder.rglob("*")) if f.is_file()}


def test_the_first_refresh_is_accepted_for_a_gain_that_is_seen(first: tuple[Home, Outcome]) -> None:
    _, outcome = first
    assert outcome.kind == "accepted", outcome.reasons
    for row in outcome.rows:
        assert row.high is not None
        assert row.high < 0, f"{row.task}: a random model must learn from real text"


def test_no_record_is_lost(first: tuple[Home, Outcome]) -> None:
    for row in first[1].rows:
        assert row.landed == 80
        away = sum(row.dropped.values()) + sum(row.quarantined.values())
        assert row.landed == row.kept + row.held_out + away + row.superseded


def test_the_achieved_share_of_replay_is_the_planned_one(first: tuple[Home, Outcome]) -> None:
    rows_ = first[1].rows
    achieved = sum(row.achieved_replay for row in rows_) / sum(row.achieved_tokens for row in rows_)
    planned = sum(row.planned_replay for row in rows_) / sum(row.planned_tokens for row in rows_)
    assert abs(achieved - planned) <= 0.005


def test_a_version_is_loaded_by_pyfunc_and_by_transformers(first: tuple[Home, Outcome]) -> None:
    import mlflow
    import pandas
    from transformers import AutoModelForCausalLM, AutoTokenizer

    home, outcome = first
    registry = Registry(home)
    assert registry.champion() == outcome.version == "1"
    served = mlflow.pyfunc.load_model(f"models:/{registry.name}@champion")
    prompts = pandas.DataFrame({"prompt": ["The assert statement", "A"]})
    assert len(served.predict(prompts, params={"max_new_tokens": 4})) == 2
    folder = registry.folder("1") / WEIGHTS
    model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True)
    assert model.num_parameters() > 10_000
    assert AutoTokenizer.from_pretrained(folder)("a").input_ids
    assert served.metadata.signature is not None


def test_a_version_says_where_it_comes_from(first: tuple[Home, Outcome]) -> None:
    home, _ = first
    tags = Registry(home).get("1").tags
    for name in ("recipe_fingerprint", "source", "parent", "seed", "verdict", "dvc.statements", "dvc.general"):
        assert tags[f"perennial.{name}"], name
    assert tags["perennial.parent"] == "base"


def test_the_run_has_metrics_plots_data_sets_and_lineage(first: tuple[Home, Outcome]) -> None:
    import mlflow

    _, outcome = first
    run_ = mlflow.MlflowClient().get_run(outcome.run_id)
    assert run_.info.status == "FINISHED"
    assert run_.data.metrics["train/loss_nats_per_token"] > 0
    assert run_.data.params["recipe.plan.mixture.replay_share"] == "0.25"
    stages = {tag.value for given in run_.inputs.dataset_inputs for tag in given.tags}
    assert {"ingest", "split", "clean", "select", "mix"} <= stages
    files = {
        file.path
        for folder in ("plots", "lineage")
        for file in mlflow.MlflowClient().list_artifacts(outcome.run_id, folder)
    }
    assert {"plots/matrix.png", "plots/holdout_change.png"} <= files
    assert {"lineage/inputs.json", "lineage/recipe.json", "lineage/dvc.lock"} <= files


def test_the_buffer_never_holds_a_held_out_document(first: tuple[Home, Outcome]) -> None:
    home, _ = first
    version = Registry(home).version("1")
    held = {
        row["key"]
        for s in version.holdout.segments
        for f in (home.root / s.path).rglob("documents.jsonl")
        for row in read_lines(f)
    }
    buffered = {row["key"] for s in version.buffer.segments for row in read_lines(home.root / s.path / "added.jsonl")}
    assert held
    assert buffered
    assert not held & buffered


def test_weights_are_on_disk_once(first: tuple[Home, Outcome]) -> None:
    home, _ = first
    files = {(f.stat().st_dev, f.stat().st_ino): f for f in home.root.rglob("model.safetensors")}
    assert len(files) == 2, f"the base and version 1, found {list(files.values())}"


def test_nothing_new_trains_and_registers_nothing(first: tuple[Home, Outcome]) -> None:
    home, _ = first
    outcome = run(home)
    assert (outcome.kind, outcome.exit_code) == ("unchanged", 0)
    assert [version.number for version in Registry(home).versions()] == ["1"]


def test_a_registered_version_is_the_base_of_another_line(first: tuple[Home, Outcome]) -> None:
    registry = Registry(first[0])
    version = base_of(first[0], f"models:/{registry.name}@champion")
    assert version.model.digest == registry.get("1").tags["perennial.weights"]
    with pytest.raises(ValueError, match="the registry has no such model"):
        base_of(first[0], "models:/nobody/7")


def test_a_line_keeps_the_base_that_it_began_with(first: tuple[Home, Outcome]) -> None:
    with pytest.raises(ValueError, match=r"base is 'tiny:7', but this workspace's line began with 'tiny:'"):
        run(first[0], tiny(base="tiny:7"))


def test_a_version_is_rebuilt_bit_for_bit(first: tuple[Home, Outcome]) -> None:
    found = reproduce(first[0], "1")
    assert found.identical, found
    assert all(found.stages.values())


def test_dvc_has_every_stage_and_rebuilds_the_same_bytes(first: tuple[Home, Outcome]) -> None:
    from pipelines.edge.steps import run_step

    home, _ = first
    lock = (home.root / "dvc.lock").read_text(encoding="utf-8")
    assert all(
        f"{stage}:" in lock for stage in ("ingest@statements", "split", "clean", "select", "plan", "mix", "replay")
    )
    folders = [home.root / "data" / name for name in ("split", "clean", "select", "plan", "mix")]
    before = trees(*folders)
    for name in ("split", "clean", "select", "plan", "mix"):
        (home.root / "data" / name / "record.json").unlink()
        run_step(home, name, None, None, lambda *_: None)
    assert trees(*folders) == before


def test_an_updated_page_is_learned_and_its_old_text_is_never_replayed_again(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=60)
    assert run(home).kind == "accepted"
    old = next(iter(read_lines(home.root / "data" / "select" / "statements" / "documents.jsonl")))
    updated = old["text"] + " As of now the number is 42."
    fresh = rows("statements", 60, 60)
    before = sum(1 for _ in (home.root / "data/ingest/types").iterdir())
    assert before > 1
    land_rows(home, "statements", [{"key": old["key"], "text": updated}, *fresh])
    outcome = run(home)
    assert outcome.kind in {"accepted", "undecided"}, outcome.reasons
    assert updated in texts_of(home, "select", "statements")
    added = {row["text"] for row in read_lines(home.root / "data/replay/segment/added.jsonl")}
    assert added
    assert old["text"] not in added
    if outcome.kind == "accepted":
        version = Registry(home).version("2")
        removed = {k["key"] for s in version.buffer.segments for k in read_lines(home.root / s.path / "removed.jsonl")}
        assert old["key"] in removed
    assert [p.name for p in (home.root / "data/ingest/types").iterdir()] == ["record.json"], "only one task had news"


def test_a_rejected_refresh_leaves_every_state_as_it_was(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=60)
    assert run(home).kind == "accepted"
    land_rows(home, "types", rows("types", 60, 60))
    state = trees(home.root / "data" / "state")
    parent = Registry(home).version("1")
    harsh = tiny(train={"learning_rate": 0.5}, plan=NO_REPLAY, gate={"budget": 1.0})
    outcome = run(home, harsh)
    assert outcome.kind == "rejected", outcome.reasons
    assert outcome.exit_code == 10
    assert any("general" in reason for reason in outcome.reasons)
    assert trees(home.root / "data" / "state") == state
    assert Registry(home).champion() == "1"
    assert list(pending(home, parent)) == ["types"], "its batches are pending again"
    assert home.judged(outcome.attempt)
    with pytest.raises(ValueError, match="was rejected"):
        promote_by_hand(home, "2", "I like it")


def test_a_champion_moved_by_hand_during_the_run_stops_the_promotion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = workspace(tmp_path, documents=60)
    run(home)
    land_rows(home, "types", rows("types", 60, 60))
    assert run(home).version == "2"
    land_rows(home, "statements", rows("statements", 60, 60))
    champion = Registry(home).champion()
    conclude = Session.conclude

    def moved(do: Session, *artifacts: Any) -> Outcome:
        Registry(home).move("champion", "1" if champion == "2" else "2", "by hand, during the run")
        return conclude(do, *artifacts)

    monkeypatch.setattr(Session, "conclude", moved)
    outcome = run(home)
    assert outcome.kind == "undecided"
    assert "champion moved" in outcome.reasons[0]
    assert Registry(home).champion() == ("1" if champion == "2" else "2")


def test_rollback_holds_what_only_the_version_left_behind_had_consumed(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=60)
    run(home)
    batch = land_rows(home, "types", rows("types", 60, 60))
    second = run(home, tiny(gate={"superiority": "not-required", "margin_nats": 1.0}))
    assert second.kind == "accepted", second.reasons
    message = roll_back(home, "it spoke nonsense")
    registry = Registry(home)
    assert registry.champion() == "1"
    assert [row.version for row in registry.version("2").history.rows] == ["base", "1", "2"]
    assert f"types/{batch}" in message
    assert home.held() == {("types", batch): "held"}
    assert run(home).kind == "unchanged"
    moves = [event for event in home.ledger() if event["event"] == "alias" and event["alias"] == "champion"]
    assert moves[-1]["why"] == "it spoke nonsense"
    set_aside(home, "release", "types", batch, "the model was at fault")
    assert list(pending(home, registry.version("1"))) == ["types"]
    promote_by_hand(home, "2", "it did not")
    assert registry.champion() == "2"


def test_a_withdrawn_page_leaves_the_index_and_the_buffer(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=60)
    run(home)
    gone = next(iter(read_lines(home.root / "data" / "select" / "statements" / "documents.jsonl")))["key"]
    landing.land(home.root, "statements", [], [gone], now=NOW)
    land_rows(home, "types", rows("types", 60, 60))
    run(home, tiny(gate={"superiority": "not-required", "margin_nats": 1.0}))
    assert gone in {row["key"] for row in read_lines(home.root / "data/replay/segment/removed.jsonl")}
    tombstones = [row for row in read_lines(home.root / "data/clean/index/index.jsonl") if row.get("removed")]
    assert [row["key"] for row in tombstones] == [gone]


def test_general_text_alone_starts_no_refresh(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=60)
    run(home)
    land_rows(home, "general", rows("general", 60, 20))
    assert run(home).kind == "unchanged"


def test_bad_input_is_set_aside_with_its_reason_and_the_rest_is_learned(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=60)
    bad = write_rows(tmp_path / "bad" / "rows.jsonl", [{"key": "a"}, {"text": 3}, {"key": "b", "text": None}])
    with bad.open("ab") as file:
        file.write(b'{"text": "caf\xe9"}\nnot json\n{"text": NaN}\n')
    landing.land(home.root, "types", [bad], now=NOW)
    outcome = run(home)
    row = next(row for row in outcome.rows if row.task == "types")
    assert row.landed == 66
    assert sum(row.quarantined.values()) == 6, row.quarantined
    kept = [json.loads(line) for line in (home.root / "data/ingest/types/quarantine.jsonl").read_text().splitlines()]
    assert all(each["reason"] and each["file"] for each in kept)


def test_every_document_of_the_sample_text_is_real() -> None:
    assert len(paragraphs()) > 420
