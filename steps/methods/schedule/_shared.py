"""What several schedules compute."""

import math


def check_step(name: str, step: int, num_steps: int) -> None:
    """Refuse a step that no run has.

    Raises:
        ValueError: the step lies outside 1..num_steps.
    """
    if not 1 <= step <= num_steps:
        raise ValueError(f"{name}: wanted a step in 1..{num_steps:,}, found {step:,}")


def rounded_steps(share: float, num_steps: int) -> int:
    """A share of the steps, rounded: at least one if the share is above zero."""
    return max(1, round(share * num_steps)) if share else 0


def whole_steps(share: float, num_steps: int) -> int:
    """The whole steps in a share of them; 0.29 of 100 are 29, though the product is a hair below."""
    return math.floor(round(share * num_steps, 9))
