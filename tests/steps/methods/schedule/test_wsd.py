from pathlib import Path
from typing import Any

import pytest

from steps.methods.schedule.constant import Constant
from steps.methods.schedule.linear import Linear
from steps.methods.schedule.wsd import Wsd
from tests.training import ends_like_one_never_stopped, section


def rates(schedule: Any, num_steps: int, peak: float = 1.0) -> list[float]:
    return [schedule.rate(step, num_steps, peak) for step in range(1, num_steps + 1)]


WARM, STABLE = [0.5, 1.0], [1.0, 1.0]


@pytest.mark.parametrize(
    ("decay", "min_ratio", "expected"),
    [
        ("sqrt", 0.0, [0.5, 1 - 2**-0.5, 1 - 3**0.5 / 2, 0.0]),  # roots of 1/4, 2/4, 3/4, 4/4
        ("sqrt", 0.2, [0.6, 0.2 + 0.8 * (1 - 2**-0.5), 0.2 + 0.8 * (1 - 3**0.5 / 2), 0.2]),
        ("linear", 0.2, [0.8, 0.6, 0.4, 0.2]),
        ("exponential", 1 / 16, [1 / 2, 1 / 4, 1 / 8, 1 / 16]),
    ],
)
def test_worked_example(decay: str, min_ratio: float, expected: list[float]) -> None:
    schedule = Wsd(warmup_share=0.25, decay_share=0.5, decay=decay, min_ratio=min_ratio)
    assert rates(schedule, 8) == pytest.approx(WARM + STABLE + expected, abs=1e-12)


def test_the_defaults_warm_up_for_one_per_cent_and_decay_for_a_fifth() -> None:
    found = rates(Wsd(), 200)
    assert found[:2] == [0.5, 1.0]
    assert set(found[1:160]) == {1.0}
    assert found[160] < 1.0
    assert found[160:] == sorted(found[160:], reverse=True)
    assert found[-1] == pytest.approx(0.1)


def test_without_warm_up_and_decay_it_is_the_constant_schedule_exactly() -> None:
    assert rates(Wsd(warmup_share=0, decay_share=0), 7, 3e-4) == rates(Constant(), 7, 3e-4)


def test_with_nothing_but_a_straight_decay_it_is_the_linear_schedule_exactly() -> None:
    wsd = Wsd(warmup_share=0, decay_share=1, decay="linear", min_ratio=0.3)
    assert rates(wsd, 7, 3e-4) == rates(Linear(warmup_share=0, min_ratio=0.3), 7, 3e-4)


def test_one_step_is_the_warm_up() -> None:
    assert rates(Wsd(), 1) == [1.0]


def test_phases_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"warmup_share \+ decay_share of at most 1, found 0.6 \+ 0.5"):
        Wsd(warmup_share=0.6, decay_share=0.5)


def test_an_exponential_decay_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="never reaches min_ratio 0"):
        Wsd(decay="exponential", min_ratio=0)


def test_a_step_outside_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match=r"wsd: wanted a step in 1\.\.8, found 0"):
        Wsd().rate(0, 8, 1.0)


def test_it_trains_and_resumes_exactly(tmp_path: Path) -> None:
    ends_like_one_never_stopped(tmp_path, section(schedule={"method": "wsd"}))
