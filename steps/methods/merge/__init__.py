"""How the parent and what training made of it become the candidate.

One verb, `merge`: two checkpoint folders in, the folder of the candidate out; weights have no unit.
"""

from abc import ABC, abstractmethod
from pathlib import Path

from steps.core.method import Method


class Merge(Method, ABC):
    """The slot: two checkpoint folders of one architecture become one."""

    @abstractmethod
    def merge(self, parent: Path, trained: Path, folder: Path) -> Path:
        """The folder that holds the candidate's weights: `folder`, newly written, or `trained` as it is."""
