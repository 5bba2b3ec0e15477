"""Readers whose library is not trusted with a stranger's bytes: they parse in a process of their own.

The process takes one file after another. What crashes it, or takes more time or memory than the knobs allow, costs the
record that it was reading and those after it in the same file; the next file gets a new process.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from steps.methods.reader import Reader, Record, Rejected

ROOT = Path(__file__).parents[3]  # where `steps` lies
FILES_PER_PROCESS = 500  # bounds what a library leaks


class GuardedReader(Reader):
    """Turns one landed file into records, in another process."""

    libraries: ClassVar[tuple[str, ...]] = ()  # imported before memory is counted
    max_cpu_seconds: int = Field(60, ge=1, description="seconds of a processor that one record may take to parse")
    max_memory_bytes: int = Field(2**30, ge=2**28, description="bytes of memory that parsing one file may take")

    @abstractmethod
    def parse(self, file: Path, name: str) -> Iterator[Record | Rejected]:
        """What `read` yields, in the process of its own; may raise anything and may crash."""

    def read(self, file: Path, name: str) -> Iterator[Record | Rejected]:
        """The records of a file; where parsing broke, one rejected record stands for it and for what follows.

        Raises:
            OSError: the file cannot be read.
        """
        with file.open("rb"):  # one that cannot be read is no bad content
            pass
        worker = _idle.pop() if _idle else _Worker()
        line = 0
        try:
            worker.ask({**self.model_dump(), "file": str(file.absolute()), "name": name})
            while (answer := worker.answer()) is not None and not answer.get("end"):
                if "reason" not in answer:
                    messages = answer.pop("messages")
                    record = Record(messages=messages and tuple(map(tuple, messages)), **answer)
                    line = record.line
                    yield record
                elif "line" in answer:
                    line = answer["line"]
                    yield Rejected(**answer)
                else:  # it raised
                    yield Rejected(line + 1, answer["reason"], "")
            if answer is None:
                yield Rejected(line + 1, worker.cause_of_death(), "")
                return
            worker.num_files += 1
            if worker.num_files < FILES_PER_PROCESS:
                _idle.append(worker)
        finally:
            if worker not in _idle:
                worker.close()


class _Worker:
    """A process that runs `steps/methods/reader/_parse.py`."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "steps.methods.reader._parse"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, cwd=ROOT)  # noqa: S603
        self.num_files = 0

    def ask(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:  # it died while it was idle: its answer will be none
            pass

    def answer(self) -> dict[str, Any] | None:
        """What it says next; none: it died."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            return None
        found: dict[str, Any] = json.loads(line)
        return found

    def cause_of_death(self) -> str:
        return "too-much-time" if self._process.wait() == -signal.SIGXCPU else "reader-crashed"

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def forget(self) -> None:
        """Leave it to the process that this one is a fork of."""
        self._process.returncode = 0


_idle: list[_Worker] = []


def _close_all() -> None:
    while _idle:
        _idle.pop().close()


def _forget_all() -> None:
    while _idle:
        _idle.pop().forget()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_all)
