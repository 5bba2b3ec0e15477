"""What `Workspace.map` runs on: processes of this machine, or a Ray cluster. It decides how fast, never what.

Each engine gives the same results in the same order as a plain loop, holds few of them at a time, and survives a worker
that dies. So a job must be one that can run twice: it reads files that do not change, and writes whole files or none.
"""

import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.edge.settings import Runtime

logger = logging.getLogger(__name__)
Function = Callable[[Any], Any]
Map = Callable[[Function, Sequence[Any]], Iterator[Any]]

THREADS = ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON")
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in THREADS} | {"POLARS_MAX_THREADS": "1"}
# the jobs are the parallel part: threads inside them would only compete for the same cores
AHEAD = 2  # jobs a worker that are handed out and not yet handed back: one to run, one for when it is done
IDLE_SECONDS = 10.0  # then a worker ends: the next stage may train, and want the memory
WATCH_SECONDS = 0.5  # how often a worker looks whether its parent lives
SHOWN = 200  # characters of a job in an error

_spare: list[tuple[int, Any]] = []  # executors that no map uses now, with their number of workers
_started: "weakref.WeakSet[Any]" = weakref.WeakSet()


def mapper(settings: Runtime, root: Path) -> Map:
    """What runs a step's jobs, by the workspace's settings. Nothing starts before the first job."""
    if settings.engine == "local":
        return Local(settings.workers).map
    from pipelines.edge.ray_engine import RayEngine

    return RayEngine(settings, root).map


class Local:
    """Processes of this machine, kept from one map to the next while they have work.

    A map with one job, or one worker, runs in this process. Otherwise each job runs in a fresh interpreter that was
    started for the purpose (not forked: locks of other threads would come along, held for ever).
    """

    def __init__(self, workers: int = 0) -> None:
        self.workers = workers

    def map(self, function: Function, jobs: Sequence[Any]) -> Iterator[Any]:
        """The function's result for each job, in order.

        Raises:
            RuntimeError: a job's worker died, and died again when the job ran alone.
        """
        workers = min(self.workers or _cores(), len(jobs))
        return _here(function, jobs) if workers <= 1 else _spread(function, jobs, workers)


def named(function: Function, jobs: Sequence[Any], number: int) -> str:
    """How an error calls a job."""
    shown = repr(jobs[number])
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
    return f"job {number + 1} of {len(jobs)}, {getattr(function, '__name__', function)}({shown})"


def _here(function: Function, jobs: Sequence[Any]) -> Iterator[Any]:
    for number, job in enumerate(jobs):
        try:
            yield function(job)
        except Exception as error:
            error.add_note(named(function, jobs, number))
            raise


def _spread(function: Function, jobs: Sequence[Any], workers: int) -> Iterator[Any]:
    from loky.process_executor import BrokenProcessPool

    executor = _executor(workers)
    waiting: deque[tuple[int, Any]] = deque()  # in order of the jobs
    taken = 0
    alone = False  # a worker died: no new jobs until those that were under way are through, one at a time

    def go_on_alone(error: BrokenProcessPool) -> None:
        nonlocal executor, alone
        logger.warning("a worker died; the jobs under way run again, one by one: %s", _reason(error))
        _end(executor)
        executor, alone = _executor(1), True

    try:
        while waiting or taken < len(jobs):
            if alone and not waiting:
                _end(executor)
                executor, alone = _executor(workers), False
            try:
                while not alone and len(waiting) < AHEAD * workers and taken < len(jobs):
                    waiting.append((taken, executor.submit(work, function, jobs[taken])))
                    taken += 1
            except BrokenProcessPool as error:
                go_on_alone(error)
                continue
            _end_at_exit()
            number, future = waiting[0]
            try:
                result = future.result()
            except BrokenProcessPool as error:
                if not alone:
                    go_on_alone(error)
                result = _again(executor, function, jobs, number)
            except Exception as error:
                error.add_note(named(function, jobs, number))
                raise
            waiting.popleft()
            yield result
        if not alone:
            _spare.append((workers, executor))
    finally:
        if waiting or alone:  # an error, or nobody wants the rest
            _end(executor)


def _again(executor: Any, function: Function, jobs: Sequence[Any], number: int) -> Any:
    """Run a job that may have killed its worker, with the machine for itself."""
    from loky.process_executor import BrokenProcessPool

    try:
        return executor.submit(work, function, jobs[number]).result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"{named(function, jobs, number)}: its worker died, and again when the job ran alone ({_reason(error)}); "
            "SIGKILL is mostly the system's answer to too little memory, SIGSEGV a fault in compiled code"
        ) from error
    except Exception as error:
        error.add_note(named(function, jobs, number))
        raise


def _executor(workers: int) -> Any:
    """An executor with at least so many workers: one that is spare, or a new one."""
    from loky import ProcessPoolExecutor

    while _spare:
        size, executor = _spare.pop()
        if size >= workers > 1:
            return executor
        _end(executor)
    executor = ProcessPoolExecutor(
        workers,
        timeout=IDLE_SECONDS,
        initializer=_begin,
        initargs=(os.getpid(),),
        # a worker that maps a large index is no leak
        env={**ONE_THREAD, "LOKY_MAX_MEMORY_LEAK_SIZE": "1e18"},
    )
    _started.add(executor)
    return executor


def _end(executor: Any) -> None:
    """End an executor and its processes now, whatever they are at."""
    executor.shutdown(wait=True, kill_workers=True)


@cache
def _end_at_exit() -> None:
    """Where an error left a map unfinished, the interpreter would wait for its jobs. Call it once one is submitted."""
    threading._register_atexit(_end_all)  # type: ignore[attr-defined]  # runs before the executors' own, which waits


def _end_all() -> None:
    for executor in list(_started):
        _end(executor)


def _cores() -> int:
    """The cores that this process may use: of its container, not of the machine."""
    from loky import cpu_count

    found: int = cpu_count()
    return found


def _reason(error: BaseException) -> str:
    """What the executor knows of a worker's end, in a few words."""
    _, found, codes = str(error).partition("exit codes of the workers are ")
    return f"exit codes {codes.split('}')[0]}}}" if found else str(error).split(". ")[0]


def _begin(parent: int) -> None:
    """What a worker does before its first job: leave Ctrl-C to its parent, and end when that dies."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, args=(parent,), name="watch-parent", daemon=True).start()


def watch(parent: int) -> None:
    """End this process soon after its parent's end."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)  # whoever starts the stage again must find nobody writing into its folder


def work(function: Function, job: Any) -> Any:
    """A job in its worker. An error that cannot travel is told of by one that can."""
    from multiprocessing.reduction import ForkingPickler

    try:
        return function(job)
    except Exception as error:
        try:
            ForkingPickler.loads(ForkingPickler.dumps(error))
        except Exception:  # noqa: BLE001  whatever its class does when it is made again
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        raise
