"""The recipes that show one way against forgetting each, as they stand, on the tiny model."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.recipe import RECIPES, load_recipe
from steps.core.shards import read_lines
from tests.workspaces import land_rows, rows, run, workspace

pytestmark = pytest.mark.pipeline
WAYS = [
    "distill",
    "gere",
    "infinite",
    "instruct",
    "mer",
    "new-versions",
    "one-adapter-per-refresh",
    "osft",
    "stability-gap",
    "two-memories",
]


def labelled(task: str, count: int) -> list[dict[str, Any]]:
    """Questions on paragraphs, answered by them."""
    return [
        {"key": row["key"], "prompt": f"Explain: {row['text'][:40]}", "completion": row["text"]}
        for row in rows(task, 0, count)
    ]


@pytest.mark.parametrize("name", WAYS)
def test_a_recipe_trains_and_is_judged(name: str, tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=70)
    if name == "instruct":
        land_rows(home, "types", labelled("types", 70))
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    outcome = run(home, recipe)
    assert outcome.kind in {"accepted", "rejected", "undecided"}, outcome.reasons
    told = list(read_lines(home.root / "data/train/history.jsonl"))
    assert told[-1]["train/loss_nats_per_token"] < told[1]["train/loss_nats_per_token"] - 0.1
