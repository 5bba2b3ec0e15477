"""Methods: found by their file, validated, written back with their name."""

import pytest
from pydantic import ValidationError

from steps.core.method import Cite, from_recipe, load_method, method_names, summary


def test_a_file_is_a_method() -> None:
    assert "rewarmed-cosine" in method_names("schedule")
    assert load_method("schedule", "rewarmed-cosine").__name__ == "RewarmedCosine"


def test_a_method_writes_its_name_back_and_loads_equal() -> None:
    build = from_recipe("params")
    method = build({"method": "lora", "rank": 4})
    written = method.model_dump(mode="json")
    assert written["method"] == "lora"
    assert build(written) == method


def test_two_methods_with_equal_knobs_are_told_apart() -> None:
    build = from_recipe("merge")
    assert build("none").model_dump() != build({"method": "linear", "weight": 0.5}).model_dump()


def test_a_misspelt_knob_is_refused() -> None:
    with pytest.raises(ValidationError, match="rnak"):
        from_recipe("params")({"method": "lora", "rnak": 4})


def test_a_section_without_a_method_is_told_what_exists() -> None:
    with pytest.raises(ValueError, match=r"there are: .*full.*lora"):
        from_recipe("params")({"rank": 4})


def test_a_citation_names_a_known_kind_of_source() -> None:
    with pytest.raises(ValidationError, match="pattern"):
        Cite(title="Something", id="a blog", where="somewhere", checked="paper")


def test_a_summary_is_read_without_importing() -> None:
    assert summary("params", "full").startswith("Train every parameter")
