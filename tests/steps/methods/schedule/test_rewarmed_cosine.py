import pytest

from steps.methods.schedule.constant import Constant
from steps.methods.schedule.rewarmed_cosine import RewarmedCosine


def test_worked_example() -> None:
    schedule = RewarmedCosine(warmup_share=0.5, min_ratio=0.1)
    rates = [schedule.rate(step, 8, 1.0) for step in range(1, 9)]
    half = 0.9 / 2**0.5 / 2  # cos(pi / 4) below and above the middle, 0.55
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.55 + half, 0.55, 0.55 - half, 0.1])


def test_the_first_step_of_one_per_cent_warms_up_even_where_that_is_less_than_a_step() -> None:
    assert RewarmedCosine(warmup_share=0.01).rate(1, 16, 2.0) == 2.0


@pytest.mark.parametrize("num_steps", [1, 2, 16, 1000])
def test_the_last_step_has_the_minimum_or_is_the_warm_up(num_steps: int) -> None:
    expected = 0.1 if num_steps > 1 else 1.0
    assert RewarmedCosine().rate(num_steps, num_steps, 1.0) == pytest.approx(expected)


def test_the_rate_rises_to_its_peak_and_then_only_falls() -> None:
    rates = [RewarmedCosine(warmup_share=0.1).rate(step, 100, 1.0) for step in range(1, 101)]
    assert rates.index(max(rates)) == 9
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)


def test_without_warm_up_and_fall_it_is_the_constant_schedule_exactly() -> None:
    flat = RewarmedCosine(warmup_share=0, min_ratio=1)
    assert [flat.rate(step, 7, 3e-4) for step in range(1, 8)] == [Constant().rate(s, 7, 3e-4) for s in range(1, 8)]


@pytest.mark.parametrize("step", [0, 9])
def test_a_step_outside_the_run_is_refused(step: int) -> None:
    with pytest.raises(ValueError, match=rf"wanted a step in 1\.\.8, found {step}"):
        RewarmedCosine().rate(step, 8, 1.0)
