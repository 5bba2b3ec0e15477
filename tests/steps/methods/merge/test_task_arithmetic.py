from pathlib import Path

import pytest
import torch
from peft.utils.merge_utils import task_arithmetic

from steps.core.models import digest_of_model
from steps.methods.merge.linear import Linear
from steps.methods.merge.task_arithmetic import TaskArithmetic
from tests.steps.methods.merge.models import deltas, moved, row_model, row_of, row_sources, sources, weights


def test_one_and_a_half_times_the_change(tmp_path: Path) -> None:
    made = TaskArithmetic(weight=1.5).merge(row_sources(tmp_path, [2.0, -4.0]), tmp_path / "out")
    assert row_of(made) == [3.0, -6.0]


def test_what_was_learned_is_taken_away(tmp_path: Path) -> None:
    made = TaskArithmetic(operation="negate", weight=0.5).merge(row_sources(tmp_path, [2.0, -4.0]), tmp_path / "out")
    assert row_of(made) == [-1.0, 2.0]


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_up_to_the_trained_model_it_is_linear(tmp_path: Path, weight: float) -> None:
    given = sources(tmp_path)
    one = weights(TaskArithmetic(weight=weight).merge(given, tmp_path / "one"))
    other = weights(Linear(weight=weight).merge(given, tmp_path / "other"))
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)


def test_at_weight_zero_it_is_the_parent_exactly(tmp_path: Path) -> None:
    given = sources(tmp_path)
    assert digest_of_model(TaskArithmetic(weight=0.0).merge(given, tmp_path / "out")) == digest_of_model(given.parent)


@pytest.mark.parametrize(("operation", "sign"), [("add", 1.0), ("negate", -1.0)])
def test_it_agrees_with_peft(tmp_path: Path, operation: str, sign: float) -> None:
    given = sources(tmp_path)
    rule = TaskArithmetic.model_validate({"operation": operation, "weight": 0.7})
    for name, found in moved(rule, given, tmp_path / "out").items():
        wanted = task_arithmetic(deltas(given, name), torch.tensor([0.7 * sign]))
        assert torch.allclose(found, wanted, atol=1e-5), name


def test_strangers_do_not_merge(tmp_path: Path) -> None:
    given = row_sources(tmp_path, [1.0, 2.0])
    row_model(given.parent, [0.0, 0.0], name="model.other.weight")
    with pytest.raises(ValueError, match=r"found 1 that differ \(model\.layers\.0\.mlp\.weight"):
        TaskArithmetic().merge(given, tmp_path / "out")
