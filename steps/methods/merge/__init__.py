"""How the parent and what training made of it become the candidate.

One verb, `merge`: checkpoint folders of one architecture in, the folder of the candidate out; weights have no unit.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from steps.core.method import Method


@dataclass(frozen=True)
class Sources:
    """The checkpoint folders that a candidate is made of, and what chance is drawn from."""

    parent: Path
    trained: Path
    checkpoints: tuple[Path, ...] = ()  # earlier models of the same training run, oldest first
    seed: int = 0


class Merge(Method, ABC):
    """The slot: checkpoint folders of one architecture become one."""

    @abstractmethod
    def merge(self, sources: Sources, folder: Path) -> Path:
        """The folder that holds the candidate's weights: `folder`, newly written, or the trained one as it is.

        Raises:
            ValueError: the sources do not hold the same tensors, or fewer checkpoints than the rule wants.
        """
