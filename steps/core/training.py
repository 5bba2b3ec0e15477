"""What stands around a training loop: its blocks, its validation, and what may stop it."""

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from steps.core.artifacts import Validation
from steps.core.blocks import VALIDATION
from steps.core.documents import read_items
from steps.core.likelihood import batches, encode_items, first_context, summed_losses
from steps.core.models import load_tokenizer
from steps.core.rows import How

logger = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "bfloat16"]
OUT_OF_MEMORY = ("allocate memory", "out of memory", "STATUS_ALLOC_FAILED")  # by the CPU, CUDA, its libraries
VALIDATION_BATCH = 8  # items read at once: memory, not numbers


def one_by_one(work: Callable[[Any], Any], jobs: Sequence[Any]) -> list[Any]:
    """The result of each job, in their order."""
    return [work(job) for job in jobs]


class HeldOut:
    """The first validation items of every task, tokenised once; `spread` computes their batches, by default here."""

    def __init__(
        self,
        folder: Path,
        validation: Validation,
        parent: Path,
        num_items: int,
        num_tokens: int,
        spread: Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]] = one_by_one,
        labelled: How = "auto",
    ) -> None:
        self._spread = spread
        tokenizer = load_tokenizer(parent)
        self._texts = {}
        self._context = first_context(tokenizer) if num_items else 0
        for task in sorted(validation.num_items):
            items = read_items(folder / task / "validation.jsonl")[:num_items]
            if items:
                self._texts[task] = encode_items(tokenizer, items, num_tokens, labelled)

    def losses(self, network: Any) -> dict[str, float]:
        """Mean loss of each task's items, in nats per token."""
        means = {}
        for task, texts in self._texts.items():
            parts = list(batches(texts, VALIDATION_BATCH))
            nats = sum(self._spread(lambda part: sum(summed_losses(network, part, self._context)), parts))
            means[f"{VALIDATION}{task}"] = nats / sum(text.num_losses for text in texts)
        return means


def resolve_precision(precision: Precision, device: str) -> Literal["float32", "bfloat16"]:
    """What `auto` means on a device: bfloat16 on a GPU that computes it in hardware, float32 elsewhere."""
    if precision != "auto":
        return precision
    if device == "cuda":
        import torch

        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "float32"


def accelerator_on(device: str, precision: str) -> Any:
    """Accelerate on a device, in a precision."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState

    AcceleratorState._shared_state.clear()  # shared by a process: an earlier run would choose device and precision
    PartialState._shared_state.clear()
    return Accelerator(cpu=device == "cpu", mixed_precision="bf16" if precision == "bfloat16" else "no")


@contextlib.contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Draw from this seed and compute in one fixed order; what was set before is set again."""
    import torch
    from torch.utils import deterministic

    before, filled = torch.are_deterministic_algorithms_enabled(), deterministic.fill_uninitialized_memory
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        deterministic.fill_uninitialized_memory = False  # a search for bugs, which writes all memory twice
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
            deterministic.fill_uninitialized_memory = filled


@contextlib.contextmanager
def advice_on_memory(advice: str) -> Iterator[None]:
    """Turn every way of running out of memory into one error that says what to do.

    Raises:
        MemoryError: the device has too little memory.
    """
    import torch

    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = any(words in str(error) for words in OUT_OF_MEMORY)
        if not (said or isinstance(error, (MemoryError, torch.OutOfMemoryError))):
            raise
        what = (str(error) or "the machine has no more").splitlines()[0]
        raise MemoryError(f"out of memory: {what}; {advice}") from error


@contextlib.contextmanager
def told_to_stop() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set, so that a step is finished and kept; only the main thread can listen.

    Raises:
        KeyboardInterrupt: a second Ctrl-C; nobody wants to wait for the end of the step.
    """
    stop, presses = threading.Event(), list[int]()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def listen(number: int, _: object) -> None:
        stop.set()
        if number == signal.SIGINT:  # a terminal's comes to all its processes, and one may pass it on as SIGTERM
            presses.append(number)
            if len(presses) > 1:
                raise KeyboardInterrupt("interrupted in the middle of a step")
            logger.warning("stops after this step and keeps it; once more: stops at once")

    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # a process in the background, or a worker
    numbers = [signal.SIGTERM] if ignored else [signal.SIGTERM, signal.SIGINT]
    before = {number: signal.signal(number, listen) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
