import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from steps.methods.mixture import Fit, Pilot, Supply, Trial
from steps.methods.mixture._sources import as_shares, by_source
from steps.methods.mixture.regression import Regression
from steps.plan import PlanConfig, planned
from tests.steps.methods.mixture.test_fixed import supply

SUPPLY = supply(law=600, code=200)  # and 500 general to replay
ROLES = {"law": "train", "code": "train", "general": "replay-only"}
TRUE = {  # task -> source -> logarithm of the loss where that source is all
    "law": {"new/law": 0.7, "new/code": 1.2, "replay/general": 1.1},
    "code": {"new/law": 1.0, "new/code": 0.2, "replay/general": 0.9},
    "general": {"new/law": 1.5, "new/code": 1.6, "replay/general": 1.3},
}
FLOORS = {"law": 1.0, "code": 0.5, "general": 1.5}  # nats that no mixture takes away; of any other task none
FIT = Fit(path="plan.json", digest="0" * 64)
Law = Mapping[str, Mapping[str, float]]


def true_loss(task: str, shares: Mapping[str, float], law: Law = TRUE) -> float:
    return FLOORS.get(task, 0) + math.exp(sum(law[task][source] * share for source, share in shares.items()))


def ran(trials: Sequence[Trial], law: Law = TRUE, noise: Callable[[], float] = float) -> list[Pilot]:
    return [
        Pilot(
            trial=trial,
            tokens=(0, trial.num_tokens),
            losses={task: (5.0, true_loss(task, by_source(trial.shares), law) * math.exp(noise())) for task in law},
            num_parameters=10,
        )
        for trial in trials
    ]


def learned(method: Regression, where: Supply = SUPPLY, law: Law = TRUE) -> dict[str, Any]:
    runs = ran(method.pilots(where, seed=3), law)
    return method.model_copy(update={"draws": 0}).learn(where, runs, ROLES, seed=3)


def with_fit(content: dict[str, Any], where: Supply = SUPPLY) -> Supply:
    return replace(where, read=lambda fit: content)


def test_the_law_of_the_proxies_is_found_again() -> None:
    found = learned(Regression())
    natural = {"new/law": 6 / 13, "new/code": 2 / 13, "replay/general": 5 / 13}
    for task, row in found["law"]["slopes"].items():
        constant = sum(natural[source] * TRUE[task][source] for source in natural)
        assert found["law"]["floors"][task] == pytest.approx(FLOORS[task], abs=1e-5)
        assert found["law"]["constants"][task] == pytest.approx(constant, abs=1e-5)
        assert row == pytest.approx({source: TRUE[task][source] - constant for source in natural}, abs=1e-5)
    assert found["checks"]["r2"] == pytest.approx(dict.fromkeys(("code", "general", "law"), 1.0))
    for row in found["checks"]["held_out"]:
        assert row["predicted"] == pytest.approx(row["actual"], abs=1e-6)
    assert {row["group"] for row in found["checks"]["held_out"] if row["task"] == "general"} == {"general"}


def test_without_floors_the_logarithm_of_the_loss_is_linear_in_the_shares() -> None:
    trials = Regression(num_proxies=9).pilots(SUPPLY, seed=0)
    runs = ran(trials, law := {f"no {task}": row for task, row in TRUE.items()})  # a loss without a floor
    found = Regression(floored=False, draws=0).learn(SUPPLY, runs, {}, seed=0)["law"]
    for task, row in law.items():
        slopes = {source: slope + found["constants"][task] for source, slope in found["slopes"][task].items()}
        assert slopes == pytest.approx(row, abs=1e-6)
        assert found["floors"][task] == 0


@pytest.mark.parametrize("kl", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("max_epochs", [4.0, 0.9])
def test_no_mixture_of_a_fine_grid_is_better_than_the_optimum(kl: float, max_epochs: float) -> None:
    where = replace(SUPPLY, max_epochs=max_epochs)  # at 0.9 epochs code gives at most 18 % of the budget
    found = learned(Regression(kl=kl, min_share=0, pilot_part=0.05), where)["recommended"]
    natural = np.array([6, 2, 5]) / 13
    caps = np.minimum(1, max_epochs * np.array([600, 200, 500]) / 1000)
    slopes = np.array([list(row.values()) for row in TRUE.values()])
    steps = np.arange(1, 400) / 400
    grid = np.array([(a, b, 1 - a - b) for a in steps for b in steps if a + b < 0.9999])
    grid = grid[(grid <= caps + 1e-12).all(axis=1)]

    def value(shares: np.ndarray) -> np.ndarray:
        return np.exp(shares @ slopes.T).mean(axis=1) + kl * (shares * np.log(shares / natural)).sum(axis=1)

    best = np.array([[found[source] for source in TRUE["law"]]])
    assert (best <= caps + 1e-9).all()
    assert best.sum() == pytest.approx(1)
    assert value(best)[0] <= value(grid).min() + 1e-9
    np.testing.assert_allclose(best[0], grid[value(grid).argmin()], atol=0.005)  # two steps of the grid


@pytest.mark.parametrize("seed", range(5))
def test_at_the_optimum_no_share_is_better_moved(seed: int) -> None:
    random = np.random.default_rng(seed)
    names = [f"t{number}" for number in range(8)]
    sizes = dict(zip(names, random.integers(50, 400, 8).tolist(), strict=True))
    where = replace(supply(**sizes), max_epochs=1)
    sources = [f"new/{name}" for name in names] + ["replay/general"]
    law = {task: dict(zip(sources, random.normal(1, 0.4, 9).tolist(), strict=True)) for task in names}
    found = learned(Regression(min_share=0, pilot_part=0.05, draws=0), where, law)["recommended"]
    held = np.array([*where.new.values(), 500])
    shares, caps = np.array([found[source] for source in sources]), np.minimum(1, held / 1000)
    slopes = np.array([list(row.values()) for row in law.values()])
    slope = slopes.T @ np.exp(slopes @ shares) / 8 + 0.1 * (np.log(shares / (held / held.sum())) + 1)
    free, full = shares < caps - 1e-6, shares >= caps - 1e-6
    assert full.any()
    assert np.ptp(slope[free]) < 1e-4  # Karush, Kuhn and Tucker: equal where a share may move,
    assert (slope[full] < slope[free].mean() + 1e-4).all()  # lower where only the cap holds it


def test_a_strong_pull_gives_the_natural_shares() -> None:
    found = learned(Regression(kl=1e6))["recommended"]
    assert found == pytest.approx({"new/law": 6 / 13, "new/code": 2 / 13, "replay/general": 5 / 13}, abs=1e-5)


def test_the_natural_share_of_replay_can_be_stated() -> None:
    found = learned(Regression(kl=1e6, natural_replay=0.2))["recommended"]
    assert found == pytest.approx({"new/law": 0.6, "new/code": 0.2, "replay/general": 0.2}, abs=1e-5)


def test_the_weight_of_general_losses_draws_the_mixture_to_replay() -> None:
    shares = [learned(Regression(general_weight=weight))["recommended"] for weight in (0.0, 1.0, 5.0)]
    assert shares[0]["replay/general"] < shares[1]["replay/general"] < shares[2]["replay/general"]


def test_floors_hold_and_shares_too_small_are_dropped() -> None:
    law = {"law": {"new/law": 0.0, "new/code": 3.0, "replay/general": 3.0}}  # all but law is harmful
    free = learned(Regression(kl=0.01, min_r2=0), law=law)
    assert free["recommended"] == {"new/law": 1.0, "new/code": 0.0, "replay/general": 0.0}
    held = learned(Regression(kl=0.01, min_r2=0, floors={"replay/general": 0.05}), law=law)["recommended"]
    assert held == pytest.approx({"new/law": 0.95, "new/code": 0.0, "replay/general": 0.05})


def test_what_is_decided_is_what_was_recommended_and_is_planned() -> None:
    content = learned(Regression())
    decided = Regression(fit=FIT).decide(with_fit(content), seed=0)
    tokens = planned(PlanConfig(budget_tokens=1000), SUPPLY, decided).tokens
    assert {source: count / 1000 for source, count in tokens.items()} == pytest.approx(content["recommended"], abs=2e-3)
    assert decided.predicted == {}  # the proxies ran for a tenth of the budget
    assert "after 100 tokens" in decided.told[1]


def test_proxies_as_long_as_the_budget_predict_its_losses() -> None:
    content = learned(Regression(pilot_part=1))
    predicted = Regression(fit=FIT).decide(with_fit(content), seed=0).predicted
    assert predicted == pytest.approx({task: true_loss(task, content["recommended"]) for task in TRUE})


def test_a_budget_beyond_the_text_is_mixed_by_what_the_text_can_give() -> None:
    content = learned(Regression())
    short = replace(SUPPLY, budget_tokens=100_000)
    decided = Regression(fit=FIT).decide(with_fit(content, short), seed=0)
    assert by_source(decided.stages[0]) == pytest.approx(
        {"new/law": 6 / 13, "new/code": 2 / 13, "replay/general": 5 / 13}
    )


def test_an_earlier_fit_keeps_its_ratios_beside_a_task_that_came() -> None:
    earlier = {"recommended": {"new/law": 0.6, "new/code": 0.1, "replay/general": 0.3}}
    grown = with_fit(earlier, supply(law=600, code=200, tax=300))
    law = {task: {**row, "new/tax": 1.0} for task, row in TRUE.items()}
    law["tax"] = {"new/law": 1.4, "new/code": 1.5, "replay/general": 1.5, "new/tax": 0.3}
    method = Regression(reuse=FIT)
    trials = method.pilots(grown, seed=0)
    assert len(trials) == 4 * 2 + 2  # two groups: all that was, and tax
    for trial in trials:
        shares = by_source(trial.shares)
        assert shares.get("new/law", 0) == pytest.approx(6 * shares.get("new/code", 0))
    content = method.learn(grown, ran(trials, law), ROLES, seed=0)
    found = content["recommended"]
    assert sum(found.values()) == pytest.approx(1)
    assert found["new/tax"] > 0.1
    assert found["new/law"] / found["new/code"] == pytest.approx(6)
    again = Regression(fit=FIT).decide(with_fit(content, grown), seed=0)
    assert by_source(again.stages[0]) == pytest.approx(found)


def test_a_source_that_is_gone_needs_no_new_proxies_and_one_that_came_does() -> None:
    content = learned(Regression())
    gone = Regression(fit=FIT).decide(with_fit(content, supply(law=600)), seed=0)
    assert set(by_source(gone.stages[0])) == {"new/law", "replay/general"}
    with pytest.raises(ValueError, match=r"does not know new/tax; name it as plan\.mixture\.reuse"):
        Regression(fit=FIT).decide(with_fit(content, supply(law=600, tax=100)), seed=0)


def test_an_earlier_fit_with_nothing_new_beside_it_is_refused() -> None:
    earlier = {"recommended": {"new/law": 0.6, "new/code": 0.1, "replay/general": 0.3}}
    with pytest.raises(ValueError, match=r"plan\.mixture\.reuse: wanted sources of that fit and new ones beside them"):
        Regression(reuse=FIT).pilots(with_fit(earlier), seed=0)


def test_proxies_are_drawn_by_the_seed_below_the_caps_and_some_are_held_out() -> None:
    where = replace(SUPPLY, max_epochs=0.4)  # a run of 100 tokens gets at most 80 of code
    trials = Regression().pilots(where, seed=5)
    assert trials == Regression().pilots(where, seed=5)
    assert trials != Regression().pilots(where, seed=6)
    assert [trial.held_out for trial in trials] == [False] * 12 + [True] * 2
    for trial in trials:
        shares = by_source(trial.shares)
        assert sum(shares.values()) == pytest.approx(1)
        assert shares.get("new/code", 0) <= 0.8 + 1e-12
        assert all(share == 0 or share >= 1e-3 for share in shares.values())


def test_the_intervals_hold_what_is_recommended_and_widen_with_the_noise() -> None:
    method, widths = Regression(num_proxies=20, draws=15), []
    for noise in (0.002, 0.02):
        random = np.random.default_rng(0)
        runs = ran(method.pilots(SUPPLY, seed=1), noise=lambda random=random, noise=noise: random.normal(0, noise))
        found = method.learn(SUPPLY, runs, ROLES, seed=0)
        assert found == method.learn(SUPPLY, runs, ROLES, seed=0)
        intervals = found["intervals"]["groups"]
        assert all(low < found["recommended"][source] < high for source, (low, high) in intervals.items())
        widths.append(sum(high - low for low, high in intervals.values()))
    assert 3 * widths[0] < widths[1] < 0.5


def test_losses_that_the_shares_do_not_explain_are_refused() -> None:
    random = np.random.default_rng(0)
    runs = ran(Regression().pilots(SUPPLY, seed=1), noise=lambda: float(random.normal(0, 3)))
    with pytest.raises(ValueError, match=r"the law explains too little of .*wanted R2 of at least 0\.8"):
        Regression().learn(SUPPLY, runs, ROLES, seed=1)


@pytest.mark.parametrize("num_runs", [0, 3])
def test_too_few_proxies_are_refused(num_runs: int) -> None:
    runs = ran(Regression().pilots(SUPPLY, seed=1))[:num_runs]
    with pytest.raises(ValueError, match=f"{num_runs} runs do not carry a law of 3 sources; wanted at least 5"):
        Regression().learn(SUPPLY, runs, ROLES, seed=1)


def test_proxies_of_one_mixture_are_refused() -> None:
    shares = as_shares({"new/law": 0.5, "new/code": 0.2, "replay/general": 0.3})
    trials = [Trial(name=f"same-{number}", shares=shares, num_tokens=100) for number in range(9)]
    with pytest.raises(ValueError, match=r"9 runs do not carry a law of 3 sources; .* of different mixtures"):
        Regression().learn(SUPPLY, ran(trials), ROLES, seed=1)


def test_without_a_fit_or_with_that_of_another_method_it_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="regression needs a fit; run `perennial pilot RECIPE`"):
        Regression().decide(SUPPLY, seed=0)
    with pytest.raises(ValueError, match="holds a fit of skill-graph, the recipe's mixture is regression"):
        Regression(fit=FIT).decide(with_fit({"method": "skill-graph"}), seed=0)


@pytest.mark.parametrize(
    ("floors", "message"),
    [({"new/tax": 0.1}, "no share to raise of new/tax"), ({"new/law": 0.7, "new/code": 0.4}, "there are none; lower")],
)
def test_floors_that_cannot_hold_are_refused(floors: dict[str, float], message: str) -> None:
    content = learned(Regression())
    with pytest.raises(ValueError, match=message):
        Regression(fit=FIT, floors=floors).decide(with_fit(content), seed=0)


def test_text_too_little_for_its_proxies_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"of 100 mixtures none keeps every source below .*; lower plan\.mixture\.pilot"
    ):
        Regression(pilot_part=1).pilots(replace(SUPPLY, max_epochs=0.1), seed=0)


@pytest.mark.parametrize("wrong", [{"kl": 0}, {"pilot_part": 0}, {"strength": (0, 1)}, {"num_held_out": 0}])
def test_knobs_outside_their_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Regression.model_validate(wrong)
