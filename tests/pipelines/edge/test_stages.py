"""What a person and a machine call a stage."""

from pathlib import Path

import pytest

from pipelines.edge.registry import base_version
from pipelines.edge.stages import key_of, numbered, title_of
from steps.core.artifacts import Model

BASE, OLDEST, PARENT, NEW = (Model(digest=digest, path="m", num_parameters=1) for digest in "bopn")
FIRST = base_version(BASE)
THIRD = FIRST.model_copy(update={"name": "3", "model": PARENT, "references": (BASE, OLDEST)})


@pytest.mark.parametrize(
    ("model", "title"),
    [
        (BASE, "evaluate base"),
        (OLDEST, "evaluate oldest accepted version"),
        (PARENT, "evaluate champion, version 3"),
        (NEW, "evaluate candidate"),
    ],
)
def test_an_evaluation_says_which_model(model: Model, title: str) -> None:
    assert title_of("evaluate", Path("evaluate") / model.digest, (model,), THIRD) == title


def test_before_the_first_version_the_base_is_compared_with() -> None:
    assert title_of("evaluate", Path("evaluate/b"), (BASE,), FIRST) == "evaluate base"


def test_a_stage_of_one_task_carries_its_name() -> None:
    assert title_of("ingest", Path("data/ingest/types"), (), THIRD) == "ingest types"
    assert key_of("ingest", Path("data/ingest/types")) == "ingest/types"
    assert title_of("clean", Path("data/clean"), (), THIRD) == key_of("clean", Path("data/clean")) == "clean"


def test_stages_of_a_part_of_the_score_say_so() -> None:
    assert title_of("gate", Path("data/gate/repair"), (), THIRD, "repair") == "gate repair"
    assert key_of("gate", Path("data/gate/repair")) == "gate/repair"
    assert title_of("evaluate", Path("evaluate/n"), (NEW,), THIRD, "repair") == "evaluate candidate, repair"
    assert title_of("evaluate", Path("evaluate/p"), (PARENT,), THIRD, "repair") == "evaluate champion, version 3"


def test_titles_are_numbered_in_the_order_of_the_score() -> None:
    assert [numbered(title) for title in ("ingest types", "clean", "conclude")] == [
        "1 ingest types",
        "3 clean",
        "13 conclude",
    ]
