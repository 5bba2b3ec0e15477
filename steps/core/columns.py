"""What the jobs of a step leave on disk for it to join: rows of numbers, read a column at a time, and strings.

So a step that needs all documents of a task at once holds a few bytes of each; the rest stays in files.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from steps.core.shards import write_atomic


class Block(NamedTuple):
    """Rows of numbers in a file, uint64, one column after the other."""

    path: Path
    num_rows: int
    num_columns: int

    def column(self, number: int) -> np.ndarray:
        """One column, uint64 [num_rows]."""
        begin = 8 * self.num_rows * number
        return np.fromfile(self.path, dtype="<u8", count=self.num_rows, offset=begin).astype(np.uint64, copy=False)


def write_block(path: Path, values: np.ndarray) -> Block:
    """Write rows of numbers, uint64 [N, K], for the step that is under way."""
    write_atomic(path, values.T.astype("<u8").tobytes(), durable=False)
    return Block(path, *values.shape)


@dataclass(frozen=True)
class Columns:
    """Rows of numbers, uint64 [N, K]: those of all blocks, one after the other, of which one column is in memory."""

    blocks: "Sequence[np.ndarray | Block | Columns]"
    counted: np.ndarray | None = None  # bool, a flag for each row of the blocks: whether it is there; none: all are

    @classmethod
    def of(cls, values: "np.ndarray | Columns") -> "Columns":
        """Numbers as columns, in memory or not."""
        return cls([values]) if isinstance(values, np.ndarray) else values

    def __len__(self) -> int:
        if self.counted is not None:
            return int(self.counted.sum())
        return sum(block.num_rows if isinstance(block, Block) else len(block) for block in self.blocks)

    @property
    def num_columns(self) -> int:
        """K: the width of the widest block; narrower ones have no rows."""
        widths = (block.shape[1] if isinstance(block, np.ndarray) else block.num_columns for block in self.blocks)
        return max(widths, default=0)

    def column(self, number: int) -> np.ndarray:
        """One column, uint64 [N]."""
        found = np.concatenate([np.empty(0, dtype=np.uint64), *(_column(block, number) for block in self.blocks)])
        return found if self.counted is None else found[self.counted]


def _column(block: np.ndarray | Block | Columns, number: int) -> np.ndarray:
    width = block.shape[1] if isinstance(block, np.ndarray) else block.num_columns
    if number >= width:
        return np.empty(0, dtype=np.uint64)
    return block[:, number] if isinstance(block, np.ndarray) else block.column(number)


@dataclass(frozen=True)
class Strings:
    """Strings in files, read in order or by their places."""

    files: Sequence[Path] = ()
    sizes: Sequence[int] = ()  # strings of each file

    def __iter__(self) -> Iterator[str]:
        for file in self.files:
            yield from orjson.loads(file.read_bytes())

    def __len__(self) -> int:
        return sum(self.sizes)

    def at(self, places: Iterable[int]) -> dict[int, str]:
        """The strings at some places; only the files that hold them are read."""
        wanted = np.unique(np.fromiter(places, dtype=np.int64))
        found: dict[int, str] = {}
        begin = 0
        for file, size in zip(self.files, self.sizes, strict=True):
            own = wanted[np.searchsorted(wanted, begin) : np.searchsorted(wanted, begin + size)].tolist()
            if own:
                strings = orjson.loads(file.read_bytes())
                found |= {place: strings[place - begin] for place in own}
            begin += size
        return found

    @classmethod
    def joined(cls, parts: "Iterable[Strings]") -> "Strings":
        """The strings of several, one after the other."""
        files: list[Path] = []
        sizes: list[int] = []
        for part in parts:
            files += part.files
            sizes += part.sizes
        return cls(files, sizes)


def write_strings(path: Path, strings: list[str]) -> Strings:
    """Write strings for the step that is under way."""
    write_atomic(path, orjson.dumps(strings), durable=False)
    return Strings([path], [len(strings)])
