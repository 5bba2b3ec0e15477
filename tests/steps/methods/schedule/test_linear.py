from pathlib import Path

import pytest

from steps.methods.schedule.constant import Constant
from steps.methods.schedule.linear import Linear
from tests.training import ends_like_one_never_stopped, section


def test_worked_example() -> None:
    schedule = Linear(warmup_share=0.5, min_ratio=0.2)
    assert [schedule.rate(step, 8, 1.0) for step in range(1, 9)] == pytest.approx(
        [0.25, 0.5, 0.75, 1.0, 0.8, 0.6, 0.4, 0.2]
    )


def test_down_to_nothing_without_warm_up() -> None:
    schedule = Linear(warmup_share=0, min_ratio=0)
    assert [schedule.rate(step, 4, 4e-3) for step in (1, 2, 3, 4)] == pytest.approx([3e-3, 2e-3, 1e-3, 0])


@pytest.mark.parametrize("num_steps", [1, 2, 16, 1000])
def test_the_last_step_has_the_minimum_or_is_the_warm_up(num_steps: int) -> None:
    assert Linear().rate(num_steps, num_steps, 1.0) == pytest.approx(0.1 if num_steps > 1 else 1.0)


def test_without_warm_up_and_fall_it_is_the_constant_schedule_exactly() -> None:
    flat = Linear(warmup_share=0, min_ratio=1)
    assert [flat.rate(step, 7, 3e-4) for step in range(1, 8)] == [Constant().rate(s, 7, 3e-4) for s in range(1, 8)]


def test_a_step_outside_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match=r"linear: wanted a step in 1\.\.8, found 9"):
        Linear().rate(9, 8, 1.0)


def test_it_trains_and_resumes_exactly(tmp_path: Path) -> None:
    ends_like_one_never_stopped(tmp_path, section(schedule={"method": "linear"}))
