import pytest
from pydantic import ValidationError

from steps.learning.looking import Looking


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({}, []),
        ({"validate_steps": 6}, [6, 12, 18]),
        ({"validate_early": True}, [1, 2, 4, 8, 16]),
        ({"validate_early": True, "validate_steps": 6}, [1, 2, 4, 6, 12, 18]),
        ({"validate_early": True, "validate_steps": 8}, [1, 2, 4, 8, 16]),
        ({"validate_early": True, "validate_steps": 1}, list(range(1, 21))),
    ],
)
def test_worked_examples_of_20_steps(knobs: dict[str, int], expected: list[int]) -> None:
    looking = Looking.model_validate(knobs)
    assert [step for step in range(1, 21) if looking.looks(step)] == expected


def test_steps_that_are_no_number_of_steps_are_refused() -> None:
    with pytest.raises(ValidationError, match="validate_steps"):
        Looking(validate_steps=-1)
