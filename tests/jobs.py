"""Functions that worker processes run in the tests of runtimes; importing this is cheap."""

import hashlib
import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import NoReturn

from steps.core.ranges import read_range
from steps.core.shards import write_atomic


class Odd(Exception):
    """Cannot be made again from its arguments, as pickle would."""

    def __init__(self, wanted: int, found: int) -> None:
        super().__init__(f"wanted {wanted}, found {found}")


def square(number: int) -> int:
    return number * number


def slower_at_first(number: int) -> int:
    """The first jobs take longest, so that the last are done before them."""
    work = b"x"
    for _ in range(200_000 // (number + 1)):
        work = hashlib.sha256(work).digest()
    return number


def pid_of(number: int) -> int:
    return os.getpid()


def threads_of(number: int) -> list[str | None]:
    return [os.environ.get(name) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")]


def divide(number: int) -> float:
    return 1 / number


def odd(number: int) -> NoReturn:
    raise Odd(1, number)


def die(job: tuple[int, int, str]) -> int:
    """(number, how often to die, folder): each death leaves a file behind."""
    number, deaths, folder = job
    for n in range(deaths):
        try:
            Path(folder, f"{number}-{n}").touch(exist_ok=False)
        except FileExistsError:
            continue
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def wait_unless_first(job: tuple[int, str]) -> int:
    """Job 0 returns; the others write down their process and wait for ever."""
    number, folder = job
    if number:
        Path(folder, str(os.getpid())).touch()
        while True:
            signal.pause()
    return number


def count_words(job: tuple[str, int, int, str]) -> tuple[str, int]:
    """(file, begin, end, folder): word counts of a range of documents, as a part file; a real job in small."""
    path, begin, end, folder = job
    counts = Counter(
        word for line in read_range(Path(path), begin, end) for word in json.loads(line)["text"].lower().split()
    )
    part = Path(folder) / f"{begin:012d}.json"
    write_atomic(part, json.dumps(dict(sorted(counts.items()))))
    return part.name, counts.total()


def count_words_unless_doomed(job: tuple[str, int, int, str]) -> tuple[str, int]:
    """`count_words`; but a child of the process that the folder's `doomed` names says so, and waits for its end."""
    doomed = Path(job[3]).with_suffix(".doomed")
    if doomed.exists() and doomed.read_text() == str(os.getppid()):
        doomed.with_suffix(".caught").touch()
        while True:
            signal.pause()
    return count_words(job)
