"""Pilots on the tiny model and real text: made once, fitted, written down, and used by a refresh."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipelines.edge.home import Home
from pipelines.edge.pilots import MADE, Piloted, Pilots
from pipelines.edge.session import attempt_of, pending
from pipelines.pilot import pilot
from pipelines.recipe import PilotConfig, Recipe
from steps.core.method import Cite, from_recipe
from steps.core.shards import digest_of_file
from steps.methods.mixture import Decision, Mixture, Pilot, Shares, Supply, Trial
from tests.workspaces import run, tiny, workspace

pytestmark = pytest.mark.pipeline
ROLES = {"general": "replay-only", "statements": "train", "types": "train"}


class Lowest(Mixture):
    """Takes the share whose pilot ended lowest on its train tasks."""

    cite: ClassVar[Cite] = Cite(title="the lowest pilot", id="ours", where="this test", checked="code")

    shares: tuple[float, ...] = (0.2, 0.8)
    wanted: int = 2

    def decide(self, supply: Supply, seed: int) -> Decision:
        raise AssertionError("pilots need no decision")

    def pilots(self, supply: Supply, seed: int) -> tuple[Trial, ...]:
        return tuple(
            Trial(name=f"replay-{share}", shares=self._at(share, supply), num_tokens=1000, seed=seed)
            for share in self.shares
        )

    def _at(self, share: float, supply: Supply) -> Shares:
        return Shares(replay=share, new_weights=dict(supply.new), replay_weights=dict(supply.replay))

    def learn(self, supply: Supply, pilots: Sequence[Pilot], roles: Mapping[str, str], seed: int) -> dict[str, Any]:
        if len(pilots) < self.wanted:
            raise ValueError(f"wanted {self.wanted} pilots, found {len(pilots)}; add shares")
        train = [task for task, role in roles.items() if role == "train"]
        best = min(pilots, key=lambda each: sum(each.losses[task][-1] for task in train))
        predicted = {task: losses[-1] for task, losses in best.losses.items()}
        return {"method": "lowest", "ratio": 1 - best.trial.shares.replay, "predicted": predicted, "told": ["lowest"]}


def recipe(mixture: Mixture | dict[str, Any], **knobs: Any) -> Recipe:
    content = tiny(plan={"budget_tokens": 4000})
    plan = content.plan.model_copy(update={"mixture": mixture}) if isinstance(mixture, Mixture) else None
    changed = content if plan is None else content.model_copy(update={"plan": plan})
    return changed.model_copy(update={"pilot": PilotConfig(validations=2, **knobs)})


def pilots(home: Home, wanted: Recipe) -> Piloted:
    with home.lock():
        return pilot(Pilots(home, wanted, prefect=False))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return workspace(tmp_path_factory.mktemp("pilots"), documents=60)


@pytest.fixture(scope="module")
def first(home: Home) -> Piloted:
    return pilots(home, recipe(Lowest()))


def folders(home: Home) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in (home.root / "data/pilots").glob(f"*/{MADE}")}


def test_pilots_show_losses_at_the_start_and_at_every_validation(first: Piloted) -> None:
    assert first.kind == "fitted"
    assert first.roles == ROLES
    for each in first.pilots:
        assert (each.tokens[0], each.tokens[-1]) == (0, 1000), "to the token"
        assert sorted(set(each.tokens)) == list(each.tokens)
        assert all(len(losses) == len(each.tokens) and losses[-1] < losses[0] for losses in each.losses.values())
    starts = [{task: losses[0] for task, losses in each.losses.items()} for each in first.pilots]
    assert starts[0] == starts[1], "all begin with the parent"
    assert first.tokens == 2000


def test_what_was_learned_is_written_with_its_pilots_their_cost_and_a_plot(home: Home, first: Piloted) -> None:
    path = home.root / first.path
    content = json.loads(path.read_text(encoding="utf-8"))
    assert digest_of_file(path) == first.digest
    assert content["cost"] == {"num_pilots": 2, "tokens": 2000, "share_of_full_run": 0.5}
    assert [each["trial"]["name"] for each in content["pilots"]] == ["replay-0.2", "replay-0.8"]
    assert path.with_suffix(".png").stat().st_size > 1000


def test_text_and_weights_of_a_pilot_go_when_it_is_done(home: Home, first: Piloted) -> None:
    names = {path.name for path in (home.root / "data/pilots").rglob("*") if path.is_file()}
    assert names == {MADE, "history.jsonl", "plan.json", "plan.png"}


def test_pilots_already_made_are_used_again_and_the_same_plan_is_written(home: Home, first: Piloted) -> None:
    before = folders(home)
    again = pilots(home, recipe(Lowest()))
    assert folders(home) == before
    assert (again.digest, again.run_id) == (first.digest, first.run_id)
    more = pilots(home, recipe(Lowest(shares=(0.2, 0.5, 0.8))))
    assert {name: when for name, when in folders(home).items() if name in before} == before
    assert len(folders(home)) == 3
    assert [each.losses for each in (more.pilots[0], more.pilots[2])] == [each.losses for each in first.pilots]


def test_a_pilot_that_was_cut_off_leaves_the_others_and_is_made_alone(home: Home, first: Piloted) -> None:
    before = folders(home)
    lost = sorted(before)[0]
    (home.root / "data/pilots" / lost / MADE).unlink()
    (home.root / "data/pilots/0123456789abcdef/mix").mkdir(parents=True)
    again = pilots(home, recipe(Lowest(shares=(0.2, 0.5, 0.8))))
    assert [name for name, when in folders(home).items() if before[name] != when] == [lost]
    assert again.kind == "fitted"
    assert not (home.root / "data/pilots/0123456789abcdef").exists(), "what another set was cut off at goes"


def test_another_seed_is_another_training(home: Home, first: Piloted) -> None:
    other = pilots(home, recipe(Lowest()).model_copy(update={"seed": 20}))
    assert other.pilots[0].losses == first.pilots[0].losses

    class Twice(Lowest):
        def pilots(self, supply: Supply, seed: int) -> tuple[Trial, ...]:
            return tuple(trial.model_copy(update={"seed": 21}) for trial in super().pilots(supply, seed))

    reseeded = pilots(home, recipe(Twice()))
    assert reseeded.pilots[0].losses != first.pilots[0].losses
    assert reseeded.pilots[0].losses["general"][0] == first.pilots[0].losses["general"][0]


def test_one_parent_run_has_a_child_for_each_pilot_and_the_plan(first: Piloted) -> None:
    from mlflow import MlflowClient

    client = MlflowClient()
    run_ = client.get_run(first.run_id)
    assert run_.info.status == "FINISHED"
    assert run_.data.metrics["cost/tokens"] == 2000
    files = {file.path for place in (None, "plots") for file in client.list_artifacts(first.run_id, place)}
    assert {"plan.json", "plots/laws.png"} <= files
    children = client.search_runs(
        [run_.info.experiment_id], filter_string=f"tags.`mlflow.parentRunId` = '{first.run_id}'"
    )
    assert sorted(child.info.run_name for child in children) == ["replay-0.2", "replay-0.8"]
    for child in children:
        assert child.info.status == "FINISHED"
        history = client.get_metric_history(child.info.run_id, "train/validation_general")
        assert [point.step for point in history][:2] == [0, 1]


def test_a_refusal_is_an_answer_and_keeps_the_pilots(home: Home, first: Piloted) -> None:
    refused = pilots(home, recipe(Lowest(wanted=3)))
    assert (refused.kind, refused.exit_code) == ("refused", 10)
    assert refused.reasons == ("wanted 3 pilots, found 2; add shares",)
    assert len(refused.pilots) == 2
    assert refused.path == ""


def test_pilots_too_short_to_be_fitted_are_not_run(home: Home) -> None:
    before = folders(home)
    law = {"method": "critical-ratio", "pilot_tokens": 1000}
    few = tiny(plan={"budget_tokens": 4000, "mixture": law})
    with pytest.raises(
        ValueError, match=r"1,000 tokens are 2 optimiser steps, .* wants at least 7: raise plan\.mixture"
    ):
        pilots(home, few)
    assert folders(home) == before


def test_a_mixture_that_needs_no_pilots_says_so(home: Home) -> None:
    found = pilots(home, recipe({}))
    assert (found.kind, found.exit_code) == ("needless", 0)
    assert "mixture fixed needs no pilots" in found.reasons[0]


LAW = {"method": "domain-law", "ratios": [0.2, 0.4, 0.5, 0.6, 0.8], "held_out": [0.5], "pilot_tokens": 1500}
LAW |= {"min_r2": 0.0, "tolerance": 10.0, "starts": 2, "draws": 4}  # so small a model teaches nothing but the path


def test_a_law_of_pilots_is_read_by_the_refresh_that_names_it_and_stands_beside_what_came(home: Home) -> None:
    from mlflow import MlflowClient

    found = pilots(home, recipe(from_recipe("mixture")(LAW)).model_copy(update={"pilot": PilotConfig(validations=4)}))
    assert found.kind == "fitted", found.reasons
    assert {row["task"] for row in found.plan["checks"]["held_out"]} >= {None, "statements", "types", "general"}
    fit = {"path": found.path, "digest": found.digest}
    made = {path: path.stat().st_mtime_ns for path in (home.root / "data").glob("[csi]*/**/record.json")}
    assert len(made) >= 6
    outcome = run(home, recipe(from_recipe("mixture")({**LAW, "fit": fit})))
    assert {path: path.stat().st_mtime_ns for path in made} == made, "the data stages were made by the pilots"
    client = MlflowClient()
    metrics = client.get_run(outcome.run_id).data.metrics
    for task in ROLES:
        assert metrics[f"plan/predicted_{task}"] == pytest.approx(found.plan["predicted"][task])
        assert metrics[f"plan/actual_{task}"] == metrics[f"train/validation_{task}"]
    assert metrics["plan/replay_share"] == pytest.approx(1 - found.plan["ratio"], abs=1e-3)
    files = {file.path for place in ("plots", "lineage") for file in client.list_artifacts(outcome.run_id, place)}
    assert {"plots/predicted_and_actual.png", "lineage/plan.json"} <= files


def test_a_recipe_without_its_fit_is_told_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run `perennial pilot RECIPE`"):
        run(workspace(tmp_path, documents=30), recipe(from_recipe("mixture")(LAW)))


def test_how_pilots_are_run_is_no_part_of_a_refresh(home: Home) -> None:
    plain, other = recipe({}), recipe({}, validation_items=3, schedule={"method": "constant"})
    assert plain.pilot != other.pilot
    assert plain.fingerprint() == other.fingerprint()
    from pipelines.edge.lineage import base_of

    parent = base_of(home, plain.base)
    found = pending(home, parent)
    names = {attempt_of(home, parent, each, found, again=False) for each in (plain, other)}
    assert len(names) == 1


def test_nothing_landed_is_nothing_to_plan_for(tmp_path: Path) -> None:
    found = pilots(_empty(tmp_path), recipe(Lowest()))
    assert found.kind == "unchanged"
    assert found.exit_code == 0


def _empty(folder: Path) -> Home:
    from pipelines.edge.workspaces import make_workspace

    list(make_workspace(folder))
    return Home(folder)
