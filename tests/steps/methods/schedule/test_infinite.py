"""The schedule alone; what it leaves from refresh to refresh is in tests/steps/learning/test_plateau.py."""

import itertools
import math
from typing import Any

import pytest

from steps.methods.schedule.constant import Constant
from steps.methods.schedule.infinite import Infinite

COOLDOWNS = ["linear", "cosine", "inverse-sqrt"]


def rates(schedule: Infinite, num_steps: int, peak: float = 1.0, **given: Any) -> list[float]:
    return [schedule.rate(step, num_steps, peak, **given) for step in range(1, num_steps + 1)]


@pytest.mark.parametrize(
    ("cooldown", "in_between"),
    [
        ("linear", [0.75, 0.5]),
        ("cosine", [0.25 + 0.75 * 0.75, 0.25 + 0.75 * 0.25]),  # cos of 60 and 120 degrees: 1/2, -1/2
        ("inverse-sqrt", [1 - 0.75 * (1 - 2**-0.5) / 0.5, 1 - 0.75 * (1 - 3**-0.5) / 0.5]),  # timescale 3: to 1/sqrt(4)
    ],
)
def test_worked_example(cooldown: Any, in_between: list[float]) -> None:
    schedule = Infinite(
        warmup_end=0.2,
        cooldown_end=0.5,
        constant_end=0.8,
        cooldown=cooldown,
        timescale=3,
        constant_ratio=0.25,
        min_ratio=0.0625,
    )
    expected = [0.5, 1.0, *in_between, 0.25, 0.25, 0.25, 0.25, 0.125, 0.0625]
    assert rates(schedule, 10) == pytest.approx(expected, rel=1e-12)
    assert rates(schedule, 10, continued=True) == pytest.approx([0.25] * 8 + [0.125, 0.0625], rel=1e-12)


@pytest.mark.parametrize("cooldown", COOLDOWNS)
def test_parity_with_the_public_code(cooldown: Any) -> None:
    """Its values at 100 steps and a peak of 1e-3, computed by its formulas with these numbers put in."""
    schedule = Infinite(cooldown=cooldown)
    at = {step: schedule.rate(step, 100, 1e-3) for step in (1, 5, 10, 15, 16, 80, 90, 100)}
    middle = {
        "linear": 5.5e-4,
        "cosine": 5.5e-4,
        "inverse-sqrt": 1e-3 - 9e-4 * (1 / math.sqrt(6) - 1) / (1 / math.sqrt(11) - 1),
    }
    expected = {1: 2e-4, 5: 1e-3, 10: middle[cooldown], 15: 1e-4, 16: 1e-4, 80: 1e-4, 90: 10**-4.5, 100: 1e-5}
    assert at == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("cooldown", COOLDOWNS)
def test_the_branches_meet_at_the_joints(cooldown: Any) -> None:
    found = rates(Infinite(cooldown=cooldown), 100_000)
    jumps = [abs(after - before) for before, after in itertools.pairwise(found)]
    assert max(jumps) < 1e-3  # the steepest: the beginning of inverse-sqrt, 1e-4 of the way at 6.4 per way
    assert found[5_000 - 1] == 1.0
    assert found[15_000 - 1] == pytest.approx(0.1, rel=1e-12)
    assert found[80_000 - 1] == 0.1
    assert found[-1] == pytest.approx(0.01, rel=1e-12)


def test_it_is_the_constant_schedule_exactly_without_its_phases() -> None:
    flat = Infinite(warmup_end=0, cooldown_end=0, constant_end=1, constant_ratio=1)
    assert rates(flat, 7, 3e-4) == [Constant().rate(step, 7, 3e-4) for step in range(1, 8)]
    assert flat.plateau(7) == 7


@pytest.mark.parametrize(("num_steps", "end"), [(1, 1), (2, 1), (3, 2), (16, 12), (100, 80)])
def test_the_plateau_is_the_last_step_at_the_constant_rate(num_steps: int, end: int) -> None:
    schedule = Infinite()
    assert schedule.plateau(num_steps) == end
    found = rates(schedule, num_steps, continued=True)
    assert found[:end] == [0.1] * end
    assert all(rate < 0.1 for rate in found[end:])


def test_a_share_counts_its_whole_steps_whatever_binary_says() -> None:
    assert Infinite(constant_end=0.29).plateau(100) == 29  # 0.29 * 100 is 28.999999999999996


def test_phases_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match=r"warmup_end <= cooldown_end <= constant_end, found 0\.2, 0\.1, 0\.8"):
        Infinite(warmup_end=0.2, cooldown_end=0.1)


def test_an_anneal_that_rises_is_refused() -> None:
    with pytest.raises(ValueError, match=r"min_ratio of at most constant_ratio \(0\.1\), found 0\.2"):
        Infinite(min_ratio=0.2)


def test_a_step_outside_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match=r"infinite: wanted a step in 1\.\.8, found 9"):
        Infinite().rate(9, 8, 1.0)
