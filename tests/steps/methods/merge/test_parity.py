"""mergekit makes the same models, tensor for tensor. peft's functions are compared with beside each method."""

from pathlib import Path
from typing import Any

import pytest
import torch

from steps.methods.merge import Merge, Sources
from steps.methods.merge.average import Average
from steps.methods.merge.breadcrumbs import Breadcrumbs
from steps.methods.merge.linear import Linear
from steps.methods.merge.slerp import Slerp
from steps.methods.merge.task_arithmetic import TaskArithmetic
from steps.methods.merge.ties import Ties
from tests.steps.methods.merge.models import sources, weights

pytestmark = pytest.mark.slow
TWO, ALL = ("parent", "trained"), ("trained", "first", "second")
EIGHTH, QUARTER = 0.125, 0.25  # of every tensor of the tiny model a whole number


def by_mergekit(given: Sources, folder: Path, method: str, models: dict[str, dict[str, Any]], **knobs: Any) -> Path:
    """What mergekit makes of the same folders, by a configuration as its users write it."""
    config = pytest.importorskip("mergekit.config", reason="mergekit is absent: make test-all installs it")
    merge = pytest.importorskip("mergekit.merge")
    options = pytest.importorskip("mergekit.options")
    places = {"parent": given.parent, "trained": given.trained}
    places |= dict(zip(("first", "second"), given.checkpoints, strict=False))
    written = {
        "merge_method": method,
        "models": [{"model": str(places[name]), "parameters": own} for name, own in models.items()],
        "dtype": "float32",
        **knobs,
    }
    if method not in {"linear"}:
        written["base_model"] = str(given.parent)
    asked = config.MergeConfiguration.model_validate(written)
    merge.run_merge(asked, str(folder), options.MergeOptions(copy_tokenizer=False, quiet=True, random_seed=0))
    return folder


CASES: list[tuple[Merge, str, dict[str, dict[str, Any]], dict[str, Any]]] = [
    (Linear(weight=0.3), "linear", {"parent": {"weight": 0.7}, "trained": {"weight": 0.3}}, {}),
    (Average(num_checkpoints=2), "linear", {name: {"weight": 1.0} for name in ALL}, {}),
    (Slerp(weight=0.3), "slerp", {name: {} for name in TWO}, {"parameters": {"t": 0.3}}),
    (TaskArithmetic(weight=1.4), "task_arithmetic", {"trained": {"weight": 1.4}}, {}),
    (
        Ties(density=QUARTER, weight=0.8, num_checkpoints=2),
        "ties",
        {name: {"weight": 1.0, "density": QUARTER} for name in ALL},
        {"parameters": {"lambda": 0.8, "normalize": True}},
    ),
    (
        Breadcrumbs(outliers=EIGHTH, smallest=QUARTER, weight=0.9),
        "breadcrumbs",
        {"trained": {"weight": 0.9, "density": 1 - EIGHTH - QUARTER, "gamma": EIGHTH}},
        {},
    ),
]


@pytest.mark.filterwarnings("ignore")  # mergekit's own
@pytest.mark.parametrize(("rule", "method", "models", "knobs"), CASES, ids=[case[1] for case in CASES])
def test_mergekit_makes_the_same_model(
    tmp_path: Path, rule: Merge, method: str, models: dict[str, dict[str, Any]], knobs: dict[str, Any]
) -> None:
    given = sources(tmp_path, num_checkpoints=2)
    wanted = weights(by_mergekit(given, tmp_path / "mergekit", method, models, **knobs))
    found = weights(rule.merge(given, tmp_path / "ours"))
    assert found.keys() <= wanted.keys()
    for name, tensor in found.items():
        assert torch.allclose(tensor, wanted[name], atol=1e-5), name
