"""A file of lines in byte ranges, so that several workers can each read a part of it."""

import mmap
from collections.abc import Iterator
from pathlib import Path

RANGE_BYTES = 4 * 2**20  # of a job: long enough that starting it costs nothing, short enough for memory


def ranges(path: Path, target_bytes: int) -> list[tuple[int, int]]:
    """Byte ranges (begin, end) that together are the file; each begins at the start of a line.

    Each holds at least `target_bytes`, the last one excepted, and ends with the line that reaches them. So they are
    decided by the file's bytes and the target alone. An empty or missing file has none. Only the lines at the cuts
    are read.

    Raises:
        ValueError: the target is no positive number.
    """
    if target_bytes < 1:
        raise ValueError(f"target_bytes: wanted at least 1, found {target_bytes}")
    size = path.stat().st_size if path.exists() else 0
    if size == 0:
        return []
    found: list[tuple[int, int]] = []
    begin = 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        while begin < size:
            # from the last byte of the target, so that a line that ends just there is the last of its range
            end = content.find(b"\n", begin + target_bytes - 1) + 1 or size
            found.append((begin, end))
            begin = end
    return found


def read_range(path: Path, begin: int, end: int) -> Iterator[bytes]:
    """The lines of one of the file's ranges, in order, without their line breaks.

    Raises:
        ValueError: the file has become shorter.
    """
    with path.open("rb") as file:
        file.seek(begin)
        while begin < end:
            line = file.readline()
            if not line:
                raise ValueError(f"{path}: it ends at {begin:,}, wanted {end:,} bytes; it changed while it was read")
            begin += len(line)
            yield line.removesuffix(b"\n")
