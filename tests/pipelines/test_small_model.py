import logging
from pathlib import Path

import pytest
import torch

from pipelines.edge.base_models import resolve_base
from pipelines.small_model import build_small_model
from steps.core.models import load_model, load_tokenizer

MINUTES = 0.02  # of the budget: two steps
SHORT = "python:topics"


class Killed(Exception):
    """Stands for the death of the process after a step."""


def die(done: int, total: int, what: str) -> None:
    raise Killed


def test_a_small_model_is_built_cached_and_found_by_its_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[tuple[int, int, str]] = []
    with caplog.at_level(logging.INFO):
        model = build_small_model(tmp_path, MINUTES, progress=lambda *told: seen.append(told))
    assert seen == [(1, 2, "steps"), (2, 2, "steps")]
    assert "nats/token over its last steps, 2048 tokens read" in caplog.text
    assert 3_000_000 < model.num_parameters < 5_000_000
    assert len(load_tokenizer(tmp_path / model.path)) == 4096
    assert load_model(tmp_path / model.path).lm_head.weight.dtype == torch.float32

    assert build_small_model(tmp_path, MINUTES, progress=die) == model
    assert resolve_base(tmp_path, "small:") == model
    assert sorted(path.name for path in (tmp_path / ".perennial/models").iterdir()) == [
        Path(model.path).name,
        "small.json",
    ]


def test_a_build_that_was_killed_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        build_small_model(tmp_path / "killed", MINUTES, progress=die, source=SHORT)
    with pytest.raises(ValueError, match="not built yet"):
        resolve_base(tmp_path / "killed", "small:")
    resumed = build_small_model(tmp_path / "killed", MINUTES, source=SHORT)
    assert resumed == build_small_model(tmp_path / "straight", MINUTES, source=SHORT)
