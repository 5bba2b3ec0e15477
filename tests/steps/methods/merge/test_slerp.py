import math
from pathlib import Path

import pytest
import torch

from steps.methods.merge.linear import Linear
from steps.methods.merge.slerp import Slerp
from tests.steps.methods.merge.models import row_model, row_of, sources, weights


def between(folder: Path, start: list[float], end: list[float], weight: float) -> list[float]:
    from steps.methods.merge import Sources

    given = Sources(parent=row_model(folder / "p", start), trained=row_model(folder / "t", end))
    return row_of(Slerp(weight=weight).merge(given, folder / "out"))


def test_halfway_between_two_axes_is_the_diagonal_of_the_same_length(tmp_path: Path) -> None:
    root = round(math.sqrt(0.5), 6)
    assert between(tmp_path, [1.0, 0.0], [0.0, 1.0], 0.5) == [root, root]


def test_a_third_of_a_right_angle_is_thirty_degrees(tmp_path: Path) -> None:
    assert between(tmp_path, [2.0, 0.0], [0.0, 2.0], 1 / 3) == pytest.approx([math.sqrt(3), 1.0], abs=1e-6)


def test_opposite_vectors_take_the_straight_line(tmp_path: Path) -> None:
    assert between(tmp_path, [1.0, 0.0], [-1.0, 0.0], 0.25) == [0.5, 0.0]


def test_nothing_and_something_is_a_share_of_something(tmp_path: Path) -> None:
    found = between(tmp_path, [0.0, 0.0], [0.0, 4.0], 0.5)
    assert found == pytest.approx([0.0, 4.0 * math.sqrt(0.5)], abs=1e-6), "nothing is at a right angle to everything"


def test_near_its_parent_it_is_linear(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    given = sources(tmp_path)
    near = {name: tensor * 1.001 for name, tensor in weights(given.parent).items()}
    save_file(near, given.trained / "model.safetensors")
    one = weights(Slerp(weight=0.3).merge(given, tmp_path / "one"))
    other = weights(Linear(weight=0.3).merge(given, tmp_path / "other"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_at_its_end_it_is_the_trained_model(tmp_path: Path) -> None:
    given = sources(tmp_path)
    found, trained = weights(Slerp(weight=1.0).merge(given, tmp_path / "out")), weights(given.trained)
    assert all(torch.allclose(found[name], trained[name], atol=1e-6) for name in found)


def test_strangers_do_not_merge(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wanted the same tensors"):
        between(tmp_path, [1.0, 0.0], [0.0, 1.0, 2.0], 0.5)
