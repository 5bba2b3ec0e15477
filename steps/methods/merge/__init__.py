"""How the parent and what training made of it become the candidate.

One verb, `merge`: checkpoint folders of one architecture in, the folder of the candidate out; weights have no unit.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from steps.core.front import Change, Reading
from steps.core.method import Method

Look = Callable[[Path, Reading], Mapping[str, Change]]


def _unseen(model: Path, reading: Reading) -> Mapping[str, Change]:
    return {}


@dataclass(frozen=True)
class Sources:
    """The checkpoint folders that a candidate is made of, what chance is drawn from, and what may be looked at.

    `changes`: each task's change of loss under a model against the parent, on validation items.
    """

    parent: Path
    trained: Path
    checkpoints: tuple[Path, ...] = ()  # earlier models of the same training run, oldest first
    seed: int = 0
    trained_on: tuple[str, ...] = ()  # tasks with new text
    changes: Look = _unseen


class Merge(Method, ABC):
    """The slot: checkpoint folders of one architecture become one."""

    @abstractmethod
    def merge(self, sources: Sources, folder: Path) -> Path:
        """The folder that holds the candidate's weights: `folder`, newly written, or the trained one as it is.

        Raises:
            ValueError: the sources do not hold the same tensors, or fewer checkpoints than the rule wants.
        """
