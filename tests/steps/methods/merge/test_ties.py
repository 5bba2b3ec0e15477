from pathlib import Path

import pytest
import torch
from peft.utils.merge_utils import ties

from steps.core.models import digest_of_model
from steps.methods.merge.task_arithmetic import TaskArithmetic
from steps.methods.merge.ties import Ties
from tests.steps.methods.merge.models import deltas, moved, row_model, row_of, row_sources, sources


def test_one_task_vector_is_trimmed_to_its_largest_changes(tmp_path: Path) -> None:
    given = row_sources(tmp_path, [0.1, -5.0, 0.2, 3.0])
    assert row_of(Ties(density=0.5).merge(given, tmp_path / "out")) == [0.0, -5.0, 0.0, 3.0]


def test_the_heavier_sign_wins_and_those_who_have_it_are_averaged(tmp_path: Path) -> None:
    given = row_sources(tmp_path, [3.0, 1.0, -1.0], [1.0, -4.0, -2.0], [-2.0, 1.0, 0.0])
    made = Ties(density=1.0, num_checkpoints=2).merge(given, tmp_path / "out")
    assert row_of(made) == [2.0, -4.0, -1.5]


def test_the_last_checkpoints_take_part_and_no_others(tmp_path: Path) -> None:
    given = row_sources(tmp_path, [100.0], [2.0], [4.0])
    assert row_of(Ties(density=1.0, num_checkpoints=1).merge(given, tmp_path / "out")) == [3.0]


def test_of_a_tensor_smaller_than_the_share_one_entry_stays(tmp_path: Path) -> None:
    assert row_of(Ties(density=0.1).merge(row_sources(tmp_path, [1.0, -2.0]), tmp_path / "out")) == [0.0, -2.0]


def test_untrimmed_it_is_task_arithmetic_exactly(tmp_path: Path) -> None:
    given = sources(tmp_path)
    one = Ties(density=1.0, weight=0.6).merge(given, tmp_path / "one")
    other = TaskArithmetic(weight=0.6).merge(given, tmp_path / "other")
    assert digest_of_model(one) == digest_of_model(other)


@pytest.mark.parametrize("num_checkpoints", [0, 2])
def test_it_agrees_with_peft(tmp_path: Path, num_checkpoints: int) -> None:
    given = sources(tmp_path, num_checkpoints)
    rule = Ties(density=0.3, weight=0.8, num_checkpoints=num_checkpoints)
    for name, found in moved(rule, given, tmp_path / "out").items():
        vectors = deltas(given, name)
        wanted = 0.8 * ties(vectors, torch.ones(len(vectors)), density=0.3)
        assert torch.allclose(found, wanted, atol=1e-5), name


def test_more_checkpoints_than_were_kept_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"wanted 2 checkpoints of this training run, training kept 1; set train\.keep"
    ):
        Ties(num_checkpoints=2).merge(row_sources(tmp_path, [1.0], [2.0]), tmp_path / "out")


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path) -> None:
    given = row_sources(tmp_path, [1.0], [2.0])
    row_model(given.checkpoints[0], [1.0, 2.0])
    with pytest.raises(ValueError, match="found 1 that differ"):
        Ties(num_checkpoints=1).merge(given, tmp_path / "out")
