"""How large the learning rate is at each optimiser step.

One verb, `rate`: a step in 1..num_steps and the peak in, the learning rate of that step out. A schedule that never
ends has a second, `plateau`: the last step before its rate is annealed for a release. The model as it was after that
step is kept beside the released one, and `from_plateau` says whether the next refresh trains from it.
"""

from abc import ABC, abstractmethod

from steps.core.method import Method


class Schedule(Method, ABC):
    """The slot: steps count from 1 to num_steps; rates are per optimiser step, without unit."""

    @abstractmethod
    def rate(self, step: int, num_steps: int, peak: float, *, continued: bool = False) -> float:
        """The learning rate of a step. `continued`: the last accepted refresh kept a plateau."""

    def plateau(self, num_steps: int) -> int | None:
        """The step after which the model is kept beside the released one; none: the schedule keeps no such model."""
        return None

    def from_plateau(self) -> bool:
        """Whether training begins at the plateau that the last accepted refresh kept, not at its released model."""
        return True
