"""Where a step reads and writes, and how it tells of its progress."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


def _silent(step: int, metrics: Mapping[str, float]) -> None:
    logger.debug("step %d: %s", step, metrics)


def _no_progress(done: int, total: int, what: str) -> None:
    logger.debug("%s: %d of %d", what, done, total)


def _one_by_one(function: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[Any]:
    return map(function, jobs)


@dataclass(frozen=True)
class Workspace:
    """A step's view of the world. Only `seed` and `code` are identity; the rest says where and on what it runs."""

    root: Path
    path: Path
    seed: int
    code: str = ""  # digest of the source that decides this step's result
    device: str = "cpu"
    rank: int = 0  # which of the processes that run this step together; the first one writes and tells
    num_ranks: int = 1
    report: Callable[[int, Mapping[str, float]], None] = field(default=_silent)  # metrics at a training step
    progress: Callable[[int, int, str], None] = field(default=_no_progress)  # done, total, what is counted
    map: Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]] = field(default=_one_by_one)
    # runs a module's function on jobs that pickle can carry, anywhere that sees these files; results in their order

    def at(self, relative: str) -> Path:
        """The absolute path of an artifact's folder or file.

        Raises:
            ValueError: the path leaves the workspace.
        """
        path = (self.root / relative).resolve()
        if not path.is_relative_to(self.root.resolve()):
            raise ValueError(f"{relative}: leaves the workspace {self.root}; use a path inside it")
        return path

    def relative(self, path: Path) -> str:
        """A path as artifacts carry it: relative to the workspace, with forward slashes."""
        return path.resolve().relative_to(self.root.resolve()).as_posix()
