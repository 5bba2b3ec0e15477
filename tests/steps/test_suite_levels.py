"""How often the gate is wrong about suites: verdicts over answers of two real models, with a known true change.

Questions are drawn from those that both models answered; answers of the candidate are then turned at random, as many
as make its true change what it should be. What a suite asks of the gate is as in `test_gate_levels.py`.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from steps.core.comparisons import Answer, Asked, Demands, decide, judge
from steps.core.proportions import POINTS, paired_answers
from tests.steps.simulated_gates import LEVEL, most, rate

STORED = Path(__file__).parent / "reports" / "answers.json"
SUITES = ("arc-easy", "banking77-choice", "lambada")
MARGIN = 5.0  # points
QUESTIONS = 150
DEMANDS = Demands(LEVEL, min_items=30, min_documents=20)
SIZES = [
    pytest.param(80, id="few"),
    pytest.param(1000, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
]


@cache
def answers(suite: str) -> np.ndarray:
    """Whether each question was answered rightly by the one model and by the other, [questions, 2]."""
    return np.array(json.loads(STORED.read_text(encoding="utf-8"))[suite])


def asked(suite: str, harm: float, number: int, seed: int) -> Asked:
    """A suite of so many questions, of which the candidate truly loses `harm` points."""
    chance, pool = np.random.default_rng(seed), answers(suite)
    before, after = pool[:, 0].mean(), pool[:, 1].mean()
    missing = harm / POINTS - (before - after)  # of all answers
    turned = missing / after if missing > 0 else -missing / (1 - after)  # of the right ones, or of the wrong ones
    drawn = pool[chance.integers(len(pool), size=number)]
    turns = (drawn[:, 1] == (missing > 0)) & (chance.random(number) < turned)
    new = np.where(turns, 1 - drawn[:, 1], drawn[:, 1])
    changes = [float(change) for change in POINTS * (drawn[:, 0] - new)]
    change = paired_answers(changes, [str(place) for place in range(number)], 0, seed)
    return Asked(suite, "champion", change, MARGIN, scope="suite")


def verdicts(harm: dict[str, float], number: int, questions: int = QUESTIONS) -> list[Answer]:
    """One verdict for each seed, on suites that are all required."""
    found = []
    for seed in range(number):
        held = [asked(suite, harm[suite], questions, 10 * seed + place) for place, suite in enumerate(harm)]
        found.append(decide(judge(held, [], DEMANDS), SUITES, gain=False))
    return found


def test_the_stored_answers_are_of_two_models_that_differ() -> None:
    for suite in SUITES:
        pool = answers(suite)
        assert pool.shape == (200, 2)
        assert set(pool.ravel()) == {0, 1}
        assert 0.02 < (pool[:, 0] != pool[:, 1]).mean() < 0.5


@pytest.mark.parametrize("suite", SUITES)
def test_the_true_change_is_what_it_should_be(suite: str) -> None:
    means = [asked(suite, MARGIN, 5000, seed).change.mean for seed in range(20)]
    assert np.mean(means) == pytest.approx(MARGIN, abs=0.5)


@pytest.mark.parametrize("number", SIZES)
@pytest.mark.parametrize("harmed", SUITES)
def test_a_suite_at_its_margin_seldom_passes_and_seldom_fails(harmed: str, number: int) -> None:
    found = verdicts({suite: MARGIN if suite == harmed else -10.0 for suite in SUITES}, number)
    assert rate(found, "pass") <= most(LEVEL, number)
    assert rate(found, "fail") <= most(LEVEL, number)


@pytest.mark.parametrize("number", SIZES)
def test_all_suites_at_their_margins_seldom_fail(number: int) -> None:
    assert rate(verdicts(dict.fromkeys(SUITES, MARGIN), number), "fail") <= most(LEVEL, number)


@pytest.mark.parametrize("number", SIZES)
def test_what_is_clear_is_decided(number: int) -> None:
    """A level is easily kept by deciding nothing: with 600 questions what is plainly better passes, worse fails."""
    assert rate(verdicts(dict.fromkeys(SUITES, -3.0), number, 600), "pass") > 0.8
    assert rate(verdicts({**dict.fromkeys(SUITES, 0.0), "lambada": 4 * MARGIN}, number, 600), "fail") > 0.95
