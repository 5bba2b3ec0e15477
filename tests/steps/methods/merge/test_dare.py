from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft.utils.merge_utils import dare_linear, dare_ties

from steps.core.models import digest_of_model
from steps.methods.merge import Sources
from steps.methods.merge._shared import seed_of
from steps.methods.merge.dare import Dare
from steps.methods.merge.task_arithmetic import TaskArithmetic
from tests.steps.methods.merge.models import deltas, moved, row_model, row_of, row_sources, sources


def test_what_stays_is_scaled_up(tmp_path: Path) -> None:
    found = row_of(Dare(drop=0.75).merge(row_sources(tmp_path, [1.0] * 400), tmp_path / "out"))
    assert set(found) == {0.0, 4.0}
    assert 70 < found.count(4.0) < 130, "a quarter of 400, within three and a half standard deviations"


def test_one_seed_draws_one_mask_and_another_seed_another(tmp_path: Path) -> None:
    given = row_sources(tmp_path, [1.0] * 64)
    first, again = (row_of(Dare().merge(given, tmp_path / name)) for name in ("first", "again"))
    other = row_of(Dare().merge(replace(given, seed=1), tmp_path / "other"))
    assert first == again != other


def test_every_tensor_has_a_mask_of_its_own(tmp_path: Path) -> None:
    rows = []
    for name in ("model.layers.0.a.weight", "model.layers.0.b.weight"):
        folder = tmp_path / name
        given = Sources(
            parent=row_model(folder / "p", [0.0] * 64, name), trained=row_model(folder / "t", [1.0] * 64, name)
        )
        rows.append(row_of(Dare().merge(given, folder / "out")))
    assert rows[0] != rows[1]


def test_with_nothing_dropped_it_is_task_arithmetic_exactly(tmp_path: Path) -> None:
    given = sources(tmp_path)
    one = Dare(drop=0.0, weight=0.6).merge(given, tmp_path / "one")
    other = TaskArithmetic(weight=0.6).merge(given, tmp_path / "other")
    assert digest_of_model(one) == digest_of_model(other)


def test_it_agrees_with_peft_on_the_same_draw(tmp_path: Path) -> None:
    given = sources(tmp_path, seed=7)
    for name, found in moved(Dare(drop=0.4, weight=0.9), given, tmp_path / "out").items():
        torch.manual_seed(seed_of(7, name, 0))
        wanted = dare_linear(deltas(given, name), torch.tensor([0.9]), density=0.6)
        assert torch.allclose(found, wanted, atol=1e-5), name


def test_with_signs_elected_it_agrees_with_peft(tmp_path: Path) -> None:
    values = [[1.0, -2.0, 3.0, 0.5, 2.0, -1.0], [-3.0, -1.0, 1.0, 0.5, -2.5, 2.0]]
    given = row_sources(tmp_path, *values, seed=3)
    name = "model.layers.0.mlp.weight"
    thinned = []
    for place, row in enumerate(values):
        torch.manual_seed(seed_of(3, name, place))
        thinned.append(dare_linear([torch.tensor(row)], torch.ones(1), density=0.5))
    wanted = dare_ties(thinned, torch.ones(2), density=0.999999)  # drops nothing more: the election alone is left
    found = row_of(Dare(elect=True, num_checkpoints=1).merge(given, tmp_path / "out"))
    assert found == pytest.approx(wanted.tolist(), abs=1e-4)


def test_more_checkpoints_than_were_kept_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wanted 1 checkpoints of this training run, training kept 0"):
        Dare(num_checkpoints=1).merge(row_sources(tmp_path, [1.0]), tmp_path / "out")
