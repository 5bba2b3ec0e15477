"""Artifacts are values: frozen, strict, and equal after a round trip."""

import pytest
from pydantic import ValidationError

from steps.core.artifacts import Buffer, Model, Segment, TaskFacts


def test_an_artifact_survives_its_record() -> None:
    buffer = Buffer(digest="d", segments=(Segment(digest="s", path="data/state/s"),), num_tokens={"wiki": 3})
    assert Buffer.model_validate_json(buffer.model_dump_json()) == buffer


def test_an_artifact_cannot_be_changed() -> None:
    model = Model(digest="d", path="m", num_parameters=1)
    with pytest.raises(ValidationError, match="frozen"):
        model.path = "elsewhere"  # type: ignore[misc]


@pytest.mark.parametrize("name", ["../up", "Upper", "", "a b", "-a"])
def test_a_task_is_named_so_that_it_can_be_a_folder(name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        TaskFacts(name=name)


def test_a_misspelt_fact_is_refused() -> None:
    with pytest.raises(ValidationError, match="licenses"):
        TaskFacts.model_validate({"name": "wiki", "licenses": ["MIT"]})
