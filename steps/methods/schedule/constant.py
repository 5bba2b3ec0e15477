"""The same learning rate at every step."""

from typing import ClassVar

from steps.core.method import Cite
from steps.methods.schedule import Schedule


class Constant(Schedule):
    """The peak rate at every step.

    Rule:       rate(step) = peak
    Units:      rate per optimiser step
    Reduces to: itself: it has no knob (exact)
    """

    cite: ClassVar[Cite] = Cite(title="Constant learning rate", id="ours", where="this file", checked="code")

    def rate(self, step: int, num_steps: int, peak: float, *, continued: bool = False) -> float:
        """The peak."""
        return peak
