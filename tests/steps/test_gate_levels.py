"""How often the gate is wrong: verdicts over per-item changes of real reports, with a known shift added.

A false promotion passes though some task's true shift is at or above its margin; a false rejection fails though none is
above it. Neither may happen more often than the level says, but for three binomial errors. The fast tests draw few.
"""

from collections.abc import Mapping

import numpy as np
import pytest

from steps.core.comparisons import Answer
from steps.core.statistics import group_change
from tests.steps import simulated_gates as gates
from tests.steps.simulated_gates import BUDGET, LEVEL, MARGIN, Pool, decision, drift, most, pools, rate

TASKS = ("biomed", "contracts", "general", "postgres")
GAIN = -0.3
NUM_DOCUMENTS = 60
SIZES = [
    pytest.param(80, 100, id="few"),
    pytest.param(500, 400, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
]
Shifts = Mapping[str, Mapping[str, float]]


@pytest.fixture(params=["real", "mirrored"])
def changes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The changes as they were, in which a few items gain much; and turned round, so that a few lose much."""
    if request.param == "mirrored":
        turned = {
            task: Pool([-each for each in pool.changes], {size: -alike for size, alike in pool.alike.items()})
            for task, pool in pools().items()
        }
        monkeypatch.setattr(gates, "pools", lambda: turned)


def verdicts(shifts: Shifts, fresh: Mapping[str, float], number: int, draws: int) -> list[Answer]:
    return [decision(shifts, fresh, NUM_DOCUMENTS, draws, seed) for seed in range(number)]


def test_the_stored_changes_are_real_and_their_means_are_taken_out() -> None:
    assert set(pools()) == set(TASKS)
    for pool in pools().values():
        assert sum(len(each) for each in pool.changes) == 300
        assert abs(sum(each.sum() for each in pool.changes)) < 1e-9


@pytest.mark.parametrize(("number", "draws"), SIZES)
@pytest.mark.parametrize("harmed", TASKS)
@pytest.mark.usefixtures("changes")
def test_a_task_at_its_margin_seldom_passes(harmed: str, number: int, draws: int) -> None:
    shifts = {"champion": {task: MARGIN if task == harmed else -0.1 for task in TASKS}}
    found = verdicts(shifts, {"biomed": GAIN}, number, draws)
    assert rate(found, "pass") <= most(LEVEL, number)
    assert rate(found, "fail") <= most(LEVEL, number)


@pytest.mark.parametrize(("number", "draws"), SIZES)
@pytest.mark.usefixtures("changes")
def test_a_task_at_its_budget_seldom_passes(number: int, draws: int) -> None:
    shifts = {"champion": {"contracts": 0.0}, "base": {"contracts": BUDGET * MARGIN}}
    assert rate(verdicts(shifts, {"biomed": GAIN}, number, draws), "pass") <= most(LEVEL, number)


@pytest.mark.parametrize(("number", "draws"), SIZES)
@pytest.mark.usefixtures("changes")
def test_many_tasks_at_their_margins_against_every_model_seldom_fail(number: int, draws: int) -> None:
    """Twelve tests, none of which should fail; with a fresh task that neither gained nor lost, a thirteenth."""
    references = {against: dict.fromkeys(TASKS, BUDGET * MARGIN) for against in ("base", "oldest accepted version")}
    shifts = {"champion": dict.fromkeys(TASKS, MARGIN), **references}
    assert rate(verdicts(shifts, {"biomed": 0.0}, number, draws), "fail") <= most(LEVEL, number)


@pytest.mark.parametrize(("number", "draws"), SIZES)
@pytest.mark.usefixtures("changes")
def test_a_gain_that_is_none_is_seldom_taken_for_one(number: int, draws: int) -> None:
    shifts = {"champion": dict.fromkeys(TASKS, -0.1)}
    found = verdicts(shifts, dict.fromkeys(TASKS[:3], 0.0), number, draws)
    assert rate(found, "pass") <= most(LEVEL, number)
    assert rate(found, "fail") <= most(LEVEL, number)


@pytest.mark.parametrize(("number", "draws"), SIZES)
@pytest.mark.usefixtures("changes")
def test_a_group_at_its_margin_seldom_passes_and_one_that_is_unchanged_does(number: int, draws: int) -> None:
    """Twenty-four tasks of 12 documents each: alone none of them could be judged at the margin."""

    def passes(shift: float, seed: int) -> bool:
        chance = np.random.default_rng(seed)
        tasks = [gates.resampled(gates.pools()[TASKS[k % 4]], 12, shift, chance) for k in range(24)]
        return group_change(tasks, draws, seed).p_below(MARGIN) < LEVEL

    assert sum(passes(MARGIN, seed) for seed in range(number)) / number <= most(LEVEL, number)
    assert sum(passes(0.0, seed) for seed in range(number)) / number > 0.99


@pytest.mark.parametrize(("number", "draws"), SIZES)
def test_what_is_clear_is_decided(number: int, draws: int) -> None:
    """A level is easily kept by deciding nothing: here an unchanged model passes, and twice the margin fails."""
    unchanged = {"champion": dict.fromkeys(TASKS, 0.0)}
    assert rate(verdicts(unchanged, {"biomed": GAIN}, number, draws), "pass") > 0.9
    harmed = {"champion": {**dict.fromkeys(TASKS, 0.0), "contracts": 2 * MARGIN}}
    assert rate(verdicts(harmed, {"biomed": GAIN}, number, draws), "fail") > 0.9


@pytest.mark.parametrize(("number", "draws"), [pytest.param(20, 100, id="few"), *SIZES[1:]])
def test_a_drift_of_a_fifth_of_the_margin_passes_at_most_as_long_as_the_budget_lasts(number: int, draws: int) -> None:
    """Every refresh alone is within its margin; from the tenth on, the drift is the budget and more."""
    lines = [drift(TASKS[:2], 0.2 * MARGIN, 12, NUM_DOCUMENTS, draws, seed, go_on=True) for seed in range(number)]
    assert rate([line[0] for line in lines], "pass") > 0.9
    spent = [line[place] for line in lines for place in (9, 10, 11)]
    assert round(BUDGET / 0.2) == 10
    for place in (9, 10, 11):
        assert rate([line[place] for line in lines], "pass") <= most(LEVEL, number)
    assert rate(spent, "pass") <= most(LEVEL, len(spent))
    within = [line[place] for line in lines for place in range(9)]  # nothing lost its margin or its budget yet
    assert rate(within, "fail") <= most(LEVEL, len(within))


@pytest.mark.parametrize(("number", "draws"), [pytest.param(10, 100, id="few"), *SIZES[1:]])
def test_a_line_that_moves_only_when_it_passes_spends_its_budget_and_stops(number: int, draws: int) -> None:
    lines = [drift(TASKS[:2], 0.2 * MARGIN, 16, NUM_DOCUMENTS, draws, seed, go_on=False) for seed in range(number)]
    passed = [sum(answer == "pass" for answer in line) for line in lines]
    assert sum(count > BUDGET / 0.2 for count in passed) / number <= most(LEVEL, number)
    assert sum(passed) / number < BUDGET / 0.2
