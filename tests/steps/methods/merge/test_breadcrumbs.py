from pathlib import Path

import pytest
import torch

from steps.core.models import digest_of_model
from steps.methods.merge.breadcrumbs import Breadcrumbs
from steps.methods.merge.task_arithmetic import TaskArithmetic
from tests.steps.methods.merge.models import deltas, moved, row_of, row_sources, sources


def test_the_largest_and_the_smallest_changes_are_left_out(tmp_path: Path) -> None:
    given = row_sources(tmp_path, [0.1, -9.0, 2.0, -3.0])
    assert row_of(Breadcrumbs(outliers=0.25, smallest=0.25).merge(given, tmp_path / "out")) == [0.0, 0.0, 2.0, -3.0]


def test_task_vectors_of_several_checkpoints_are_masked_each_and_averaged(tmp_path: Path) -> None:
    given = row_sources(tmp_path, [9.0, 2.0], [4.0, 6.0])
    rule = Breadcrumbs(outliers=0.5, smallest=0.0, num_checkpoints=1)
    assert row_of(rule.merge(given, tmp_path / "out")) == [2.0, 1.0]


def test_with_nothing_left_out_it_is_task_arithmetic_exactly(tmp_path: Path) -> None:
    given = sources(tmp_path)
    one = Breadcrumbs(outliers=0, smallest=0, weight=0.6).merge(given, tmp_path / "one")
    other = TaskArithmetic(weight=0.6).merge(given, tmp_path / "other")
    assert digest_of_model(one) == digest_of_model(other)


def test_it_keeps_what_lies_between_two_quantiles(tmp_path: Path) -> None:
    given = sources(tmp_path)
    for name, found in moved(Breadcrumbs(outliers=0.125, smallest=0.25), given, tmp_path / "out").items():
        (delta,) = deltas(given, name)
        ranks = delta.abs().flatten().argsort().argsort().view(delta.shape)
        number = delta.numel()
        wanted = torch.where((ranks >= number // 4) & (ranks < number - number // 8), delta, 0.0)
        assert torch.allclose(found, wanted, atol=1e-5), name


def test_shares_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"outliers \+ smallest must be below 1, found 0\.5 \+ 0\.5"):
        Breadcrumbs(outliers=0.5, smallest=0.5)


def test_strangers_do_not_merge(tmp_path: Path) -> None:
    from tests.steps.methods.merge.models import row_model

    given = row_sources(tmp_path, [1.0, 2.0])
    row_model(given.parent, [0.0])
    with pytest.raises(ValueError, match="wanted the same tensors"):
        Breadcrumbs().merge(given, tmp_path / "out")
