from pathlib import Path

import pytest

from steps.methods.objective.feature_distill import FeatureDistill
from tests.steps.methods.objective.views import begun, changes_nothing, outputs, seen, value
from tests.tiny_models import rows_of, tiny_workspace
from tests.training import ends_like_one_never_stopped, run, section

SAID = outputs([[0.0, 0.0]] * 4, [[9.0, 9.0], [9.0, 9.0], [1.0, 2.0], [3.0, 5.0]])
OLD = outputs([[0.0, 0.0]] * 2, [[0.0, 0.0], [3.0, 1.0]])
VIEW = seen(["new/alpha", "replay/general"], [[1, 1], [1, 1]], SAID, old=OLD)


def test_the_mean_over_replayed_tokens_and_units() -> None:
    assert value(FeatureDistill(distance="l1"), VIEW) == pytest.approx((1 + 2 + 0 + 4) / 4)
    assert value(FeatureDistill(distance="l2"), VIEW) == pytest.approx((1 + 4 + 0 + 16) / 4)
    assert value(FeatureDistill(distance="l2", weight=3.0), VIEW) == pytest.approx(3 * 21 / 4)


def test_micro_batches_sum_to_the_step() -> None:
    part = seen(
        ["replay/general"], [[1, 1]], outputs([[0.0, 0.0]] * 2, [[1.0, 2.0], [3.0, 5.0]]), old=OLD, num_replayed=6
    )
    assert value(FeatureDistill(distance="l1"), part) == pytest.approx(7 / (6 * 2))


def test_rows_are_those_asked_for() -> None:
    old = outputs([[0.0, 0.0]] * 2, [[8.0, 9.0], [9.0, 9.0]])
    view = seen(["new/alpha", "replay/general"], [[1, 1], [1, 1]], SAID, old=old, teacher=("parent", "new"))
    assert value(FeatureDistill(distance="l1", rows="new"), view) == pytest.approx(1 / 4)


def test_a_micro_batch_without_such_rows_adds_nothing() -> None:
    assert FeatureDistill().loss(seen(["new/alpha"], [[1]], outputs([[0.0, 0.0]], [[1.0]])), {}) is None


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_it_is_exactly_0_at_the_parent_and_grows(tmp_path: Path, distance: str) -> None:
    workspace = tiny_workspace(tmp_path)
    objective = ["next-token", {"method": "feature-distill", "distance": distance}]
    made = run(workspace, section(objective=objective, schedule={"method": "constant"}), 4)
    found = [row["train/objective_feature-distill"] for row in rows_of(workspace.at(made.history))[1:]]
    assert found[0] == 0.0
    assert all(value > 0 for value in found[1:])


def test_at_weight_0_it_changes_nothing_at_all(tmp_path: Path) -> None:
    assert changes_nothing(tmp_path, {"method": "feature-distill", "weight": 0.0})


def test_it_resumes_exactly_and_trains(tmp_path: Path) -> None:
    ends_like_one_never_stopped(tmp_path, section(objective=["next-token", "feature-distill"]))


def test_it_is_refused_where_nothing_is_replayed_unless_it_looks_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="feature-distill needs replayed text, the training set has none"):
        begun(tmp_path, "feature-distill", sources=("new/alpha", "new/beta"))
    begun(tmp_path, {"method": "feature-distill", "rows": "new"}, sources=("new/alpha", "new/beta"))


def test_the_slow_teacher_follows_the_fast_one(tmp_path: Path) -> None:
    objective = ["next-token", {"method": "feature-distill", "teacher": "slow"}]
    settings = section(objective=objective, optimizer={"method": "ema", "slow_weight": 0.9})
    made = ends_like_one_never_stopped(tmp_path, settings)
    found = [row["train/objective_feature-distill"] for row in rows_of(tmp_path / "straight" / made.history)[1:]]
    assert found[0] == 0.0
    assert min(found[1:]) > 0


def test_the_slow_teacher_needs_an_average(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"feature-distill asks the teacher 'slow', .* `slow` needs optimizer"):
        begun(tmp_path, {"method": "feature-distill", "teacher": "slow"})
