from pathlib import Path

import pytest
import torch

from steps.core.models import digest_of_model
from steps.methods.merge import Sources
from steps.methods.merge.layer_scaling import LayerScaling, block_of
from steps.methods.merge.task_arithmetic import TaskArithmetic
from tests.steps.methods.merge.models import deltas, moved, row_model, sources


def test_the_scale_rises_with_the_block() -> None:
    rule = LayerScaling(weight=0.4, deepest=1.0)
    assert [round(rule.factor(block, last=3), 6) for block in range(4)] == [0.4, 0.6, 0.8, 1.0]
    assert rule.factor(None, last=3) == 0.4, "embeddings, last norm and head"


def test_a_model_of_one_block_has_no_depth() -> None:
    assert LayerScaling(weight=0.4).factor(0, last=0) == 0.4


@pytest.mark.parametrize(
    ("name", "block"),
    [("model.layers.11.mlp.up_proj.weight", 11), ("transformer.h.0.attn.bias", 0), ("model.norm.weight", None)],
)
def test_a_tensors_name_tells_its_block(name: str, block: int | None) -> None:
    assert block_of(name) == block


def test_it_scales_what_changed_as_the_sources_formula_does(tmp_path: Path) -> None:
    given, alpha = sources(tmp_path), 0.25
    for name, found in moved(LayerScaling(weight=alpha), given, tmp_path / "out").items():
        beta, num_blocks = 1 - alpha, 2
        inside = [block for block in range(num_blocks) if f".{block}." in name]
        scale = alpha + beta * inside[0] / (num_blocks - 1) if inside else alpha
        assert torch.allclose(found, scale * deltas(given, name)[0], atol=1e-5), name


def test_with_one_scale_it_is_task_arithmetic_exactly(tmp_path: Path) -> None:
    given = sources(tmp_path)
    one = LayerScaling(weight=0.6, deepest=0.6).merge(given, tmp_path / "one")
    other = TaskArithmetic(weight=0.6).merge(given, tmp_path / "other")
    assert digest_of_model(one) == digest_of_model(other)


def test_a_model_whose_tensors_tell_no_block_is_refused(tmp_path: Path) -> None:
    given = Sources(
        parent=row_model(tmp_path / "p", [0.0], "weight"), trained=row_model(tmp_path / "t", [1.0], "weight")
    )
    with pytest.raises(ValueError, match="wanted tensors named by their block"):
        LayerScaling().merge(given, tmp_path / "out")
