from pathlib import Path

import pytest

from steps.core.artifacts import Gap
from steps.learning.gap import gap_of, gaps
from tests.tiny_models import rows_of, tiny_workspace
from tests.training import run, section


def test_worked_example_of_a_gap_that_closes() -> None:
    """Rises of 0.5 and 1.5 nats over 1 and 1 steps, 0.25 over 2, then back at 3.0 after step 8."""
    looks = [(0, 3.0), (1, 3.5), (2, 4.5), (4, 3.25), (8, 3.0), (16, 2.0)]
    assert gap_of(looks) == Gap(depth_nats=1.5, worst_step=2, recovery_steps=6, area_nats=0.5 + 1.5 + 2 * 0.25)


def test_a_task_that_is_never_back_has_no_recovery() -> None:
    assert gap_of([(0, 1.0), (1, 2.0), (4, 1.5)]) == Gap(
        depth_nats=1.0, worst_step=1, recovery_steps=None, area_nats=1.0 + 3 * 0.5
    )


def test_a_task_that_only_gets_better_has_no_gap() -> None:
    assert gap_of([(0, 3.0), (1, 3.0), (2, 2.0)]) == Gap(depth_nats=0, worst_step=0, recovery_steps=0, area_nats=0)


def test_it_is_counted_back_only_after_the_worst_look() -> None:
    looks = [(0, 1.0), (1, 1.5), (2, 0.5), (4, 2.0), (8, 0.9)]
    assert gap_of(looks) == Gap(depth_nats=1.0, worst_step=4, recovery_steps=4, area_nats=0.5 + 2 * 1.0)


def test_two_looks_measure_no_gap_and_other_numbers_are_no_looks() -> None:
    rows = [
        {"step": 0, "train/validation_a": 1.0, "train/validation_b": 1.0, "train/loss_nats_per_token": 9.0},
        {"step": 1, "train/validation_a": 2.0},
        {"step": 2, "train/validation_a": 1.0, "train/validation_b": 5.0},
    ]
    assert gaps(rows) == {"a": Gap(depth_nats=1.0, worst_step=1, recovery_steps=1, area_nats=1.0)}


def test_training_measures_it_where_validation_looks_early_and_nowhere_else(tmp_path: Path) -> None:
    """A rate far too high for the first steps: the tiny model gets worse at once."""
    knobs = {"schedule": "wsd", "learning_rate": 0.3}
    seen, unseen = tiny_workspace(tmp_path / "seen"), tiny_workspace(tmp_path / "unseen")
    early = run(seen, section(validate_early=True, **knobs), 20)
    late = run(unseen, section(**knobs), 20)
    rows = [row for row in rows_of(seen.at(early.history)) if "train/validation_alpha" in row]
    assert [row["step"] for row in rows] == [0, 1, 2, 4, 8, 16, 20]
    losses = [row["train/validation_alpha"] for row in rows]
    assert early.gap["alpha"].depth_nats == pytest.approx(max(losses) - losses[0])
    assert early.gap["alpha"].depth_nats > 0.1
    assert late.gap == {}
    assert early.model.digest == late.model.digest  # to look changes nothing
