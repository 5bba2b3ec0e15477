import json
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from steps.core.curves import DOMAIN, GENERAL
from steps.methods.mixture.critical_ratio import CriticalRatio
from steps.methods.mixture.fixed import Fixed
from tests.steps.core.pilot_worlds import UNIT, critical_ratio, losses
from tests.steps.methods.mixture.pilots_of import FIT, run, runs, supply

ROLES = {"law": "train", "code": "train", "web": "replay-only", "news": "replay-only", "exam": "eval-only"}
RATIOS = (0.2, 0.3, 0.4, 0.45, 0.5, 0.6)
METHOD = CriticalRatio(ratios=RATIOS, held_out=(0.45,), pilot_tokens=UNIT, draws=20, fit=FIT)


def world(ratio: float, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Two tasks of each role, 0.2 above and below the known curves."""
    known = losses(ratio, tokens / UNIT)
    return {
        "law": known[DOMAIN] + 0.2,
        "code": known[DOMAIN] - 0.2,
        "web": known[GENERAL] + 0.2,
        "news": known[GENERAL] - 0.2,
        "exam": np.full(len(tokens), 9.0),
    }


def rising(ratio: float, tokens: np.ndarray) -> dict[str, np.ndarray]:
    place = tokens / UNIT
    return {"law": 3 - 0.5 * ratio * place**0.3, "web": 2.5 + 0.1 * ratio * place**0.5}


def falling(ratio: float, tokens: np.ndarray) -> dict[str, np.ndarray]:
    place = tokens / UNIT
    return {"law": 3 - 0.5 * ratio * place**0.3, "web": 2.5 - 0.1 * (1.2 - ratio) * place**0.5}


LEARNT = METHOD.learn(supply(), runs(METHOD, supply(), world), ROLES, seed=0)


def test_a_pilot_for_each_ratio_and_seed_at_a_quarter_of_the_budget() -> None:
    made = CriticalRatio(ratios=RATIOS, held_out=(0.45,), seeds=2).pilots(supply(1000), seed=5)
    assert [(trial.name, trial.num_tokens) for trial in made[:2]] == [("new-0.2-seed-5", 250), ("new-0.2-seed-6", 250)]
    assert made[0].shares.replay == pytest.approx(0.8)
    assert made[0].shares.new_weights == {"law": 3000, "code": 1000}
    assert [trial.name for trial in made if trial.held_out] == ["new-0.45-seed-5", "new-0.45-seed-6"]
    assert len(made) == 12


def test_the_known_critical_ratio_is_recommended() -> None:
    assert LEARNT["ratio"] == pytest.approx(critical_ratio(600_000), abs=1e-3)
    assert LEARNT["checks"]["bound"] == "critical"
    assert sum(LEARNT["recommended"].values()) == pytest.approx(1)
    assert LEARNT["recommended"]["new/law"] == pytest.approx(0.75 * LEARNT["ratio"])


def test_losses_of_the_full_run_are_predicted_by_task() -> None:
    true = world(LEARNT["ratio"], np.array([600_000]))
    assert set(LEARNT["predicted"]) == {"law", "code", "web", "news"}
    assert LEARNT["predicted"]["law"] == pytest.approx(true["law"][0], abs=1e-3)
    assert METHOD.predict(LEARNT, 0.4, UNIT)["news"] == pytest.approx(world(0.4, np.array([UNIT]))["news"][0], abs=5e-3)


def test_the_held_out_ratio_is_predicted_better_than_by_a_line() -> None:
    rows = {(row["group"], row["task"]): row for row in LEARNT["checks"]["held_out"]}
    assert set(rows) >= {("domain", None), ("general", None), ("domain", "law"), ("general", "web")}
    row = rows["domain", None]
    assert abs(row["predicted"] - row["actual"]) < abs(row["interpolated"] - row["actual"])
    assert LEARNT["checks"]["change_error"]["domain"] < 0.01


def test_the_fit_is_json_and_decides_as_it_recommends() -> None:
    given = supply(content=json.loads(json.dumps(LEARNT, allow_nan=False)))
    decided = METHOD.decide(given, seed=0)
    assert decided.stages[0].replay == pytest.approx(1 - LEARNT["ratio"])
    assert decided.predicted == pytest.approx(LEARNT["predicted"])
    assert decided.told == tuple(LEARNT["told"])
    same = Fixed(replay_share=decided.stages[0].replay).decide(given, seed=0)
    assert decided.stages == same.stages


def test_new_text_that_no_pilot_saw_is_mixed_and_named() -> None:
    decided = METHOD.decide(supply(content=LEARNT, new={"law": 3000, "tax": 1000}), seed=0)
    assert decided.stages[0].new_weights == {"law": 3000, "tax": 1000}
    assert decided.told[-1] == "No pilot saw new text of tax: it is mixed all the same, its loss not predicted."


def test_a_larger_budget_carries_a_larger_ratio() -> None:
    ratios = [1 - METHOD.decide(supply(tokens, LEARNT), 0).stages[0].replay for tokens in (200_000, 600_000)]
    assert ratios == pytest.approx([critical_ratio(200_000), critical_ratio(600_000)], abs=1e-3)


def test_the_same_seed_gives_the_same_fit() -> None:
    again = METHOD.learn(supply(), runs(METHOD, supply(), world), ROLES, seed=0)
    assert json.dumps(again) == json.dumps(LEARNT)


def test_loss_that_rises_throughout_is_refused_with_what_to_run() -> None:
    with pytest.raises(ValueError, match=r"at every ratio general loss still rises .* run longer pilots"):
        METHOD.learn(supply(), runs(METHOD, supply(), rising), ROLES, seed=0)


def test_a_held_out_ratio_is_foretold_also_where_no_ratio_is_feasible() -> None:
    rows = METHOD.foretold(runs(METHOD, supply(), rising), ROLES, seed=0)
    row = next(row for row in rows if row["group"] == "general" and row["task"] is None)
    assert row["predicted"] == pytest.approx(row["actual"], abs=1e-4)


def test_pilots_of_two_models_are_refused() -> None:
    pilots = runs(METHOD, supply(), world)
    pilots[0] = pilots[0].model_copy(update={"num_parameters": 20})
    with pytest.raises(ValueError, match=r"pilots of one model, found \[10, 20\] parameters; use domain-law"):
        METHOD.learn(supply(), pilots, ROLES, seed=0)


def test_loss_that_falls_throughout_is_feasible_up_to_the_largest_ratio_tested() -> None:
    found = METHOD.learn(supply(), runs(METHOD, supply(), falling), ROLES, seed=0)
    assert found["ratio"] == 0.6
    assert found["checks"]["bound"] == "tested"


def test_three_ratios_cannot_carry_a_law() -> None:
    pilots = [run(trial, world) for trial in METHOD.pilots(supply(), seed=0) if trial.name[:7] != "new-0.2"]
    METHOD.learn(supply(), pilots, ROLES, seed=0)
    fewer = [pilot for pilot in pilots if pilot.trial.name[:7] != "new-0.3"]
    with pytest.raises(ValueError, match=r"at least 4 fitted ratios, found 3 .* use `fixed`"):
        METHOD.learn(supply(), fewer, ROLES, seed=0)


def test_too_few_validations_and_a_missing_role_are_refused() -> None:
    trials = METHOD.pilots(supply(), seed=0)
    with pytest.raises(ValueError, match=r"at least 7 validations after the start, found 3; raise pilot\.validations"):
        METHOD.learn(supply(), [run(trial, world, num_points=3) for trial in trials], ROLES, seed=0)
    with pytest.raises(ValueError, match="no validation loss of a general task"):
        METHOD.learn(supply(), [run(trial, world) for trial in trials], {"law": "train"}, seed=0)


def test_without_a_fit_or_with_another_methods_it_does_not_decide() -> None:
    with pytest.raises(ValueError, match="critical-ratio needs a fit; run `perennial pilot RECIPE`"):
        CriticalRatio().decide(supply(), seed=0)
    with pytest.raises(ValueError, match=r"plan\.json holds a fit of regression"):
        METHOD.decide(supply(content={"method": "regression"}), seed=0)


@pytest.mark.parametrize(
    "knobs",
    [
        {"ratios": (0.2, 0.2, 0.4, 0.5, 0.7)},
        {"ratios": (0.0, 0.2, 0.4, 0.5, 0.7)},
        {"ratios": (0.2, 0.4, 0.5, 0.7, 1.1)},
        {"ratios": (0.2, 0.4, 0.6), "held_out": ()},
        {"ratios": RATIOS, "held_out": (0.7,)},
        {"epsilon": -1},
        {"min_r2": 2},
    ],
)
def test_bad_knobs_are_refused(knobs: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CriticalRatio(**knobs)


def test_nothing_to_replay_is_nothing_to_plan() -> None:
    with pytest.raises(ValueError, match="no text to replay"):
        METHOD.pilots(supply(replay={}), seed=0)


@pytest.mark.parametrize(("skip_share", "wanted"), [(0.0, 7), (0.5, 13), (0.1, 7)])
def test_it_says_how_often_its_pilots_must_be_validated(skip_share: float, wanted: int) -> None:
    assert CriticalRatio(skip_share=skip_share).needs_validations == wanted  # 13 looks, 6 of them skipped
