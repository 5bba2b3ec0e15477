"""How large the learning rate is at each optimiser step.

One verb, `rate`: a step in 1..num_steps and the peak in, the learning rate of that step out.
"""

from abc import ABC, abstractmethod

from steps.core.method import Method


class Schedule(Method, ABC):
    """The slot: steps count from 1 to num_steps; rates are per optimiser step, without unit."""

    @abstractmethod
    def rate(self, step: int, num_steps: int, peak: float) -> float:
        """The learning rate of a step."""
