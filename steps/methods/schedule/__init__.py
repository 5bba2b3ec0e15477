"""How large the learning rate is at each optimiser step.

One verb, `rate`: a step in 1..num_steps and the peak in, the learning rate of that step out. A schedule that never
ends has a second, `plateau`: the last step before its rate is annealed for a release.
"""

from abc import ABC, abstractmethod

from steps.core.method import Method


class Schedule(Method, ABC):
    """The slot: steps count from 1 to num_steps; rates are per optimiser step, without unit."""

    @abstractmethod
    def rate(self, step: int, num_steps: int, peak: float, *, continued: bool = False) -> float:
        """The learning rate of a step. `continued`: training began at the plateau of the last accepted refresh."""

    def plateau(self, num_steps: int) -> int | None:
        """The step after which the model is kept beside the released one; none: the schedule keeps no such model."""
        return None
