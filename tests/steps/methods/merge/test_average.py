from pathlib import Path

import pytest
import torch

from steps.core.models import digest_of_model
from steps.methods.merge.average import Average
from tests.steps.methods.merge.models import row_of, row_sources, sources, weights


def test_it_is_the_mean_of_the_last_models(tmp_path: Path) -> None:
    given = row_sources(tmp_path, [90.0, 0.0], [3.0, 1.0], [5.0, 2.0])
    assert row_of(Average(num_checkpoints=1).merge(given, tmp_path / "out")) == [4.0, 1.5]


def test_every_tensor_is_averaged(tmp_path: Path) -> None:
    given = sources(tmp_path, num_checkpoints=2)
    found = weights(Average(num_checkpoints=2).merge(given, tmp_path / "out"))
    all_of_them = [weights(at) for at in (*given.checkpoints, given.trained)]
    for name, tensor in found.items():
        assert torch.allclose(tensor, torch.stack([each[name] for each in all_of_them]).mean(dim=0), atol=1e-6)


def test_alone_the_trained_model_is_its_own_mean_exactly(tmp_path: Path) -> None:
    given = sources(tmp_path)
    assert digest_of_model(Average(num_checkpoints=0).merge(given, tmp_path / "out")) == digest_of_model(given.trained)


def test_more_checkpoints_than_were_kept_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wanted 4 checkpoints of this training run, training kept 1"):
        Average().merge(row_sources(tmp_path, [1.0], [2.0]), tmp_path / "out")
