"""Functions that run in several processes at once, which see each other as torch's process group (gloo, on the CPU)."""

import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Work = Callable[..., Any]
PRELOADED = ["tests.training", "accelerate", "peft", "torch.distributed.fsdp", "transformers.models.llama"]
SECONDS = 120.0  # then what has not ended is ended


def on_ranks(number: int, folder: Path, work: Work, *given: Any) -> list[Any]:
    """What `work(rank, number, *given)` returns in each of so many processes; an error of one is told, none is left."""
    context = multiprocessing.get_context("forkserver")  # imports once what each of them needs
    context.set_forkserver_preload(PRELOADED)
    answers: Any = context.SimpleQueue()
    store = folder / f"store-{time.monotonic_ns()}"
    processes = [
        context.Process(target=_one, args=(rank, number, str(store), answers, work, given)) for rank in range(number)
    ]
    with _none_left(processes):
        for process in processes:
            process.start()
        found: dict[int, Any] = {}
        deadline = time.monotonic() + SECONDS
        while len(found) < number:
            if answers.empty():
                dead = [process.exitcode for process in processes if process.exitcode]
                if dead or time.monotonic() > deadline:
                    raise AssertionError(f"of {number} processes {sorted(found)} answered; exit codes {dead}")
                processes[0].join(0.05)
                continue
            rank, result, error = answers.get()
            if error:
                raise AssertionError(f"process {rank}: {error}")
            found[rank] = result
        for process in processes:
            process.join(10)
    return [found[rank] for rank in range(number)]


@contextmanager
def _none_left(processes: list[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
                process.join()


def _one(rank: int, number: int, store: str, answers: Any, work: Work, given: tuple[Any, ...]) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=number)
        answers.put((rank, work(rank, number, *given), None))
        dist.destroy_process_group()
    except BaseException:
        answers.put((rank, None, traceback.format_exc()))
        raise
