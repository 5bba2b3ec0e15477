"""Refreshes of the tiny model that the gate fails, with and without a repair, all tried on the same batches."""

import json
from typing import Any

import pytest

from pipelines.edge.home import Home
from pipelines.edge.operations import reproduce
from pipelines.edge.outcome import Outcome
from pipelines.edge.registry import Registry
from pipelines.edge.steps import run_step
from steps.core.front import read_front
from tests.workspaces import NO_REPLAY, land_rows, rows, run, tiny, workspace

pytestmark = pytest.mark.pipeline
HARSH: dict[str, Any] = {  # it forgets: a rate that is twenty times too high, and no replay
    "train": {"learning_rate": 0.1},
    "plan": NO_REPLAY,
    "gate": {"superiority": "not-required"},
}
TOO_FAR = {"rule": {"method": "sweep", "over": "linear", "values": [0.75], "margin_nats": 9.0}}
NEVER = {"rule": {"method": "sweep", "over": "linear", "values": [0.75], "margin_nats": 1e-6}}
GOOD = {"rule": {"method": "sweep", "over": "linear", "values": [0.25, 0.5, 1.0], "margin_nats": 0.1}}
SAME = {"rule": {"method": "linear", "weight": 1.0}}
Tried = dict[str, Outcome]


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Tried]:
    """One accepted version, then the same batches of one task tried five times; tests that use it only read."""
    home = workspace(tmp_path_factory.mktemp("repair"), documents=60)
    assert run(home).kind == "accepted"
    land_rows(home, "types", rows("types", 60, 60))
    repairs = {"plain": None, "too far": TOO_FAR, "never": NEVER, "same": SAME, "good": GOOD}
    return home, {name: run(home, tiny(**HARSH, repair=one)) for name, one in repairs.items()}


def logged(outcome: Outcome, name: str) -> Any:
    from mlflow.artifacts import load_dict

    return load_dict(f"runs:/{outcome.run_id}/{name}")


def test_without_a_repair_it_is_rejected_and_nothing_is_said_of_one(tried: tuple[Home, Tried]) -> None:
    outcome = tried[1]["plain"]
    assert outcome.kind == "rejected"
    assert not any("repair" in reason for reason in outcome.reasons)
    assert not any("repair" in name for name in logged(outcome, "lineage/stages.json"))


def test_a_repair_that_brings_it_through_is_accepted_and_told(tried: tuple[Home, Tried]) -> None:
    home, outcomes = tried
    outcome, plain = outcomes["good"], outcomes["plain"]
    assert outcome.kind == "accepted", outcome.reasons
    front = read_front(home.root / "data/merge/repair/model")
    assert front is not None
    first = outcome.reasons[0]
    assert first.startswith("failed at "), first
    assert f"; repaired by linear at weight {front.chosen.value:g}: most gain on types" in first
    assert first.endswith("(chosen on validation); judged once more")
    failures = [reason for reason in plain.reasons if "worse by more than the margin" in reason]
    assert failures
    assert all(f"before the repair: {reason}" in outcome.reasons for reason in failures)


def test_a_repair_that_fails_too_leaves_the_candidate_rejected_and_there_is_no_third_try(
    tried: tuple[Home, Tried],
) -> None:
    home, outcomes = tried
    outcome, plain = outcomes["too far"], outcomes["plain"]
    assert outcome.kind == "rejected"
    assert outcome.comparisons == plain.comparisons, "the candidate that is registered is the one that was trained"
    weights = [Registry(home).get(each.version).tags["perennial.weights"] for each in (outcome, plain)]
    assert weights[0] == weights[1]
    told = [reason for reason in outcome.reasons if reason.startswith("repair did not help: linear at weight 0.75")]
    assert len(told) == 1
    assert "judged once more and failed at" in told[0]
    assert any(reason.startswith("repaired: ") for reason in outcome.reasons)
    made = logged(outcome, "lineage/stages.json")
    assert {"gate", "gate/repair", "merge", "merge/repair"} <= set(made)
    assert sum(name.startswith("gate") for name in made) == 2


def test_a_sweep_that_finds_nothing_within_the_margin_is_not_judged(tried: tuple[Home, Tried]) -> None:
    outcome = tried[1]["never"]
    assert outcome.kind == "rejected"
    told = "not repaired: linear at weight 0.75 harms least, but no value of weight keeps every task within 1e-06"
    assert any(reason.startswith(told) for reason in outcome.reasons)
    assert "gate/repair" not in logged(outcome, "lineage/stages.json")


def test_a_repair_that_makes_the_same_model_is_not_judged_again(tried: tuple[Home, Tried]) -> None:
    outcome = tried[1]["same"]
    assert outcome.kind == "rejected"
    assert "not repaired: linear (as the recipe says) is the same model" in outcome.reasons
    assert "gate/repair" not in logged(outcome, "lineage/stages.json")


def test_the_repaired_run_shows_both_judgements_its_stages_and_the_front(tried: tuple[Home, Tried]) -> None:
    import mlflow

    outcome = tried[1]["good"]
    assert logged(outcome, "gate/verdict.json")["outcome"] == "fail"
    assert logged(outcome, "gate/repair/verdict.json")["outcome"] == "pass"
    assert logged(outcome, "verdict.json")["outcome"] == "pass"
    assert [point["value"] for point in logged(outcome, "merge/repair/front.json")["points"]] == [0.25, 0.5, 1.0]
    client = mlflow.MlflowClient()
    assert "plots/merge_repair_front.png" in {file.path for file in client.list_artifacts(outcome.run_id, "plots")}
    children = client.search_runs(
        [client.get_run(outcome.run_id).info.experiment_id],
        filter_string=f"tags.`mlflow.parentRunId` = '{outcome.run_id}'",
    )
    names = {child.info.run_name: child.info.status for child in children}
    assert {"8 merge", "8 merge repair", "9 evaluate candidate", "9 evaluate candidate, repair"} <= set(names)
    assert {"10 gate", "10 gate repair"} <= set(names)
    assert set(names.values()) == {"FINISHED"}


def test_the_second_judgement_is_a_use_of_its_items(tried: tuple[Home, Tried]) -> None:
    first, second = (
        logged(tried[1]["good"], name)["uses"]["types"]["most"]
        for name in ("gate/verdict.json", "gate/repair/verdict.json")
    )
    assert second == first + 1


def test_a_repaired_version_is_rebuilt_bit_for_bit(tried: tuple[Home, Tried]) -> None:
    home, outcomes = tried
    found = reproduce(home, outcomes["good"].version)
    assert found.identical, found


def test_a_step_reads_the_repair_back_and_makes_it_where_it_is_gone(tried: tuple[Home, Tried]) -> None:
    home, _ = tried
    record = home.root / "data/gate/repair/record.json"
    before = json.loads(record.read_text(encoding="utf-8"))
    record.unlink()

    def silent(stage: str, done: int, total: int, what: str) -> None: ...

    with pytest.raises(ValueError, match=r"repair comes first and is not made; run `perennial step repair`"):
        run_step(home, "replay", None, None, silent)
    assert run_step(home, "gate", None, None, silent) == "gate: made"
    assert not record.exists(), "the first judgement is not the second"
    assert run_step(home, "repair", None, None, silent) == "repair: made"
    assert json.loads(record.read_text(encoding="utf-8")) == before
    written = (home.root / "data/replay/record.json").stat().st_mtime_ns
    assert run_step(home, "replay", None, None, silent) == "replay: made"
    assert (home.root / "data/replay/record.json").stat().st_mtime_ns == written
