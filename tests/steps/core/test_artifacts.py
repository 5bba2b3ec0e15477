"""Artifacts are values: frozen, strict, and equal after a round trip."""

import pytest
from pydantic import ValidationError

from steps.core.artifacts import Buffer, Comparison, Model, Segment, TaskFacts


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


def test_a_comparison_from_before_there_were_suites_is_still_read() -> None:
    old = {"task": "wiki", "against": "base", "kind": "superiority", "outcome": "pass", "change_nats": -0.1}
    old |= {"low_nats": -0.2, "high_nats": -0.05, "margin_nats": 0.0, "p_value": 0.01, "num_items": 9}
    found = Comparison.model_validate({**old, "num_documents": 5, "reason": "because"})
    assert (found.change, found.low, found.high, found.unit, found.part) == (-0.1, -0.2, -0.05, "nats", "fresh")
    assert Comparison.model_validate_json(found.model_dump_json()) == found
