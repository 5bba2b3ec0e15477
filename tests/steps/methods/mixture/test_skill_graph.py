import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from steps.core.method import from_recipe
from steps.methods.mixture import Fit, Mixture, Pilot, Supply, Trial
from steps.methods.mixture._sources import as_shares
from steps.methods.mixture.fixed import Fixed
from steps.methods.mixture.skill_graph import SkillGraph
from steps.plan import PlanConfig, planned
from tests.steps.methods.mixture.test_fixed import supply

SUPPLY = supply(law=600, code=200)
GRAPH = {"new/law": {"law": 1.0, "code": 0.25}, "new/code": {"law": 0.0, "code": 1.0}}  # law helps code
CURRENT = {"new/law": 0.35, "new/code": 0.35, "replay/general": 0.3}


def steered(method: SkillGraph, where: Supply = SUPPLY) -> Mixture:
    """The method as train gets it: through the JSON of the plan."""
    found: Mixture = from_recipe("mixture")(method.decide(where, seed=0).steered)
    return found


def by_hand(*powers: float, whole: float = 1.0) -> list[float]:
    weights = [math.exp(power) for power in powers]
    return [pytest.approx(whole * weight / sum(weights), abs=1e-12) for weight in weights]


def test_the_first_shares_count_every_loss_as_one() -> None:
    stage = SkillGraph(graph=GRAPH, eta=0.5, replay_share=0.3).decide(SUPPLY, seed=0).stages[0]
    assert list(stage.new_weights.values()) == by_hand(0.5 * 1.25, 0.5 * 1.0)
    assert (stage.replay, stage.replay_weights) == (0.3, {"general": 500})


def test_an_update_sums_the_losses_of_the_window_and_replay_keeps_its_share() -> None:
    rounds = [{"law": 9.0, "code": 9.0}, {"law": 2.0, "code": 1.0}, {"law": 1.5, "code": 0.5}]
    found = steered(SkillGraph(graph=GRAPH, eta=0.4, window=2)).steer(rounds, CURRENT)
    # sums of the last two rounds: law 3.5, code 1.5
    assert [found["new/law"], found["new/code"]] == by_hand(0.4 * (3.5 + 0.25 * 1.5), 0.4 * 1.5, whole=0.7)
    assert found["replay/general"] == 0.3


def test_an_update_starts_from_the_prior_and_not_from_the_shares_of_the_round_before() -> None:
    method = steered(SkillGraph(graph=GRAPH, prior={"new/law": 3.0, "new/code": 1.0}, eta=0.0))
    assert method.steer([{"law": 5.0, "code": 1.0}] * 2, CURRENT)["new/law"] == pytest.approx(0.7 * 0.75)


def test_the_most_is_given_to_what_helps_the_task_with_the_highest_loss() -> None:
    low, high = ([{"law": 2.0, "code": loss}] * 2 for loss in (1.0, 4.0))
    method = steered(SkillGraph(graph=GRAPH))
    assert method.steer(high, CURRENT)["new/code"] > method.steer(low, CURRENT)["new/code"]


# The update of the public code (mw_trainer.py), written down again from its rule, on losses by hand.
A = np.array([[1.0, 0.5, 0.0], [0.2, 1.0, 0.0], [0.0, 0.0, 1.0]])
LOSSES = np.array([[3.0, 2.0, 1.0], [2.5, 1.8, 0.9], [2.0, 1.7, 0.8], [1.5, 1.2, 0.7], [1.4, 1.1, 0.4]])
NAMES = ["a", "b", "c"]
RULES: list[dict[str, Any]] = [
    {},
    {"window": 1},
    {"window": 9},
    {"normalize_loss": True},
    {"eta_schedule": True},
    {"dynamic_lambda": True},
    {"ignore_lone_nodes": True},
    {"targets": ("a", "c")},
    {"targets": ("b",), "normalize_loss": True, "eta_schedule": True},
    {"dynamic_lambda": True, "eta_schedule": True, "normalize_loss": True, "window": 2},
]


def public_rule(num_rounds: int, window: int = 3, targets: tuple[str, ...] = (), **switched: bool) -> np.ndarray:
    eta, prior, graph = 0.8, np.array([1.0, 2.0, 1.0]), A.copy()
    columns = [NAMES.index(name) for name in targets] or [0, 1, 2]
    recorded = [LOSSES[number][columns] for number in range(num_rounds)]
    graph = graph[:, columns]
    for _ in range(num_rounds - 2 if switched.get("dynamic_lambda") else 0):  # after every update but this one
        for i in range(3):
            for j, column in enumerate(columns):
                if i != column:
                    graph[i, j] /= 2
    window_losses = np.array(recorded[max(0, len(recorded) - window) :])
    losses = window_losses.mean(axis=0) if targets else window_losses.sum(axis=0)
    if switched.get("normalize_loss"):
        losses = np.divide(losses, recorded[0])
    if switched.get("eta_schedule"):
        eta = eta / (recorded[-1].sum() / recorded[0].sum())
    if switched.get("ignore_lone_nodes"):  # the third stands alone
        weights = np.multiply(prior[:2], np.exp(eta * graph[:2, :2].dot(losses[:2])))
        return np.array([*(weights / weights.sum() * (1 - 1 / 3)), 1 / 3])
    weights = np.multiply(prior, np.exp(eta * graph.dot(losses)))
    return np.asarray(weights / weights.sum())


@pytest.mark.parametrize("num_rounds", [2, 3, 5])
@pytest.mark.parametrize("knobs", RULES)
def test_the_update_is_that_of_the_public_code(knobs: dict[str, Any], num_rounds: int) -> None:
    graph = {f"new/{name}": dict(zip(NAMES, row, strict=True)) for name, row in zip(NAMES, A.tolist(), strict=True)}
    graph["new/a"]["b"] = 1.0  # an edge of exactly 1 counts as 0.5
    prior = {"new/a": 1.0, "new/b": 2.0, "new/c": 1.0}
    method = steered(SkillGraph(graph=graph, prior=prior, eta=0.8, **knobs), supply(a=10, b=10, c=10))
    rounds = [dict(zip(NAMES, row, strict=True)) for row in LOSSES[:num_rounds].tolist()]
    found = method.steer(rounds, {"new/a": 0.2, "new/b": 0.2, "new/c": 0.6})
    np.testing.assert_allclose(list(found.values()), public_rule(num_rounds, **knobs), rtol=1e-12)


@pytest.mark.parametrize(("edge", "where"), [(0.0, "0%"), (0.25, "100%")])
def test_an_empty_and_a_complete_graph_give_the_fixed_shares_and_say_so(edge: float, where: str) -> None:
    graph = {"new/law": {"law": 1.0, "code": edge}, "new/code": {"law": edge, "code": 1.0}}
    decided = SkillGraph(graph=graph).decide(SUPPLY, seed=0)
    assert decided.stages == Fixed(new="equal").decide(SUPPLY, seed=0).stages
    assert decided.steered is None
    assert f"{where} of the edges between different skills are there; that gives no order" in decided.told[0]


def test_without_eta_it_is_the_fixed_mixture() -> None:
    config = PlanConfig(budget_tokens=997)
    fixed = planned(config, SUPPLY, Fixed(new="equal").decide(SUPPLY, 0))
    assert planned(config, SUPPLY, SkillGraph(graph=GRAPH, eta=0).decide(SUPPLY, 0)).tokens == fixed.tokens


def test_one_new_source_cannot_be_steered() -> None:
    one = supply(law=600)
    decided = SkillGraph(graph={"new/law": {"law": 1.0, "general": 0.2}}).decide(one, seed=0)
    assert decided.steered is None
    assert decided.stages == Fixed(new="equal").decide(one, seed=0).stages


def test_replay_can_be_weighed_like_new_text() -> None:
    graph = {"new/law": {"law": 1.0, "general": 0.0}, "replay/general": {"law": 0.1, "general": 1.0}}
    method = SkillGraph(graph=graph, eta=0.5, keep_replay_share=False)
    stage = method.decide(supply(law=600), seed=0).stages[0]
    assert [1 - stage.replay, stage.replay] == by_hand(0.5, 0.55)
    rounds = [{"law": 2.0, "general": 3.0}] * 2  # sums over two rounds: 4 and 6
    found = steered(method, supply(law=600)).steer(rounds, {"new/law": 0.5, "replay/general": 0.5})
    assert [found["new/law"], found["replay/general"]] == by_hand(0.5 * 4, 0.5 * 6.4)


def run(source: str, losses: Mapping[str, tuple[float, ...]], seed: int = 0) -> Pilot:
    trial = Trial(name="skill", shares=as_shares({source: 1.0}), num_tokens=100, seed=seed)
    return Pilot(trial=trial, tokens=(0, 100), losses=dict(losses), num_parameters=10)


RUNS = [
    run("new/law", {"law": (4.0, 3.0), "code": (2.0, 1.5)}),  # law -> code: (2 - 1.5) / 2 = 0.25
    run("new/code", {"law": (4.0, 4.4), "code": (2.0, 1.0)}),  # code -> law: below 0, no edge
]


def test_the_graph_is_the_relative_fall_of_every_loss() -> None:
    found = SkillGraph().learn(SUPPLY, RUNS, {}, seed=0)
    assert found["law"]["graph"] == {"new/code": {"code": 0.5, "law": 0.0}, "new/law": {"code": 0.25, "law": 0.25}}
    assert found["checks"] == {"density": 0.5, "steered": True}
    assert sum(found["recommended"].values()) == pytest.approx(1)


def test_seeds_are_averaged_before_what_is_below_nothing_is_cut() -> None:
    runs = [run("new/law", {"code": (1.0, end)}, seed) for seed, end in enumerate((0.7, 1.1))]  # 0.3 and -0.1
    graph = SkillGraph().learn(supply(law=600), runs, {}, seed=0)["law"]["graph"]
    assert graph["new/law"]["code"] == pytest.approx(0.1)


def test_a_learned_graph_decides_as_one_by_hand() -> None:
    content = SkillGraph().learn(SUPPLY, RUNS, {}, seed=0)
    fit = Fit(path="plan.json", digest="0" * 64)
    decided = SkillGraph(fit=fit).decide(replace(SUPPLY, read=lambda fit: content), seed=0)
    assert decided == SkillGraph(graph=content["law"]["graph"]).decide(SUPPLY, seed=0)


def test_pilots_train_on_each_source_alone_for_the_same_tokens() -> None:
    trials = SkillGraph(pilot_part=0.5, num_seeds=2, keep_replay_share=False).pilots(supply(law=600, code=100), seed=7)
    assert [(trial.shares.replay, trial.seed, trial.num_tokens) for trial in trials] == [
        (0, 7, 400),  # code, four times 100, is shorter than half of the budget
        (0, 8, 400),
        (0, 7, 400),
        (0, 8, 400),
        (1, 7, 400),
        (1, 8, 400),
    ]
    assert len({trial.name for trial in trials}) == 6


def test_without_a_fit_it_says_how_to_get_one() -> None:
    with pytest.raises(ValueError, match=r"skill-graph needs a fit; run `perennial pilot RECIPE` and put fit:"):
        SkillGraph().decide(SUPPLY, seed=0)


def test_a_source_without_a_run_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="the graph has no row new/code; run `perennial pilot"):
        SkillGraph().learn(SUPPLY, RUNS[:1], {}, seed=0)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"targets": ("tax",)}, r"plan\.mixture\.targets: no validated task tax"),
        ({"prior": {"new/law": 1.0}}, r"plan\.mixture\.prior: wanted a weight above 0"),
        ({"prior": {"new/law": 1.0, "new/code": 0.0}}, r"plan\.mixture\.prior: wanted a weight above 0"),
    ],
)
def test_knobs_that_name_what_is_not_there_are_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SkillGraph(graph=GRAPH, **knobs).decide(SUPPLY, seed=0)


@pytest.mark.parametrize("wrong", [{"eta": -1}, {"window": 0}, {"update_steps": 0}, {"replay_share": 1}])
def test_knobs_outside_their_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        SkillGraph.model_validate(wrong)


def test_the_same_at_every_seed() -> None:
    assert SkillGraph(graph=GRAPH).decide(SUPPLY, seed=0) == SkillGraph(graph=GRAPH).decide(SUPPLY, seed=1)
