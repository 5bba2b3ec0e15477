"""What stands around a training loop: its blocks, its validation, and what may stop it."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from steps.core.artifacts import Validation
from steps.core.blocks import VALIDATION
from steps.core.documents import read_items
from steps.core.likelihood import batches, encode, first_context, summed_losses
from steps.core.models import load_tokenizer

Precision = Literal["auto", "float32", "bfloat16"]
VALIDATION_BATCH = 8  # items read at once: memory, not numbers


class HeldOut:
    """The first validation items of every task, tokenised once."""

    def __init__(self, folder: Path, validation: Validation, parent: Path, num_items: int, num_tokens: int) -> None:
        tokenizer = load_tokenizer(parent)
        self._texts = {}
        self._context = first_context(tokenizer) if num_items else 0
        for task in sorted(validation.num_items):
            items = read_items(folder / task / "validation.jsonl")[:num_items]
            if items:
                self._texts[task] = encode(tokenizer, [(item.id, item.text) for item in items], num_tokens)

    def losses(self, network: Any) -> dict[str, float]:
        """Mean loss of each task's items, in nats per token."""
        means = {}
        for task, texts in self._texts.items():
            nats = sum(sum(summed_losses(network, part, self._context)) for part in batches(texts, VALIDATION_BATCH))
            means[f"{VALIDATION}{task}"] = nats / sum(len(text.tokens) for text in texts)
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

    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)


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
        full = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error)
        if not full:
            raise
        raise MemoryError(f"out of memory: {str(error).splitlines()[0]}; {advice}") from error


@contextlib.contextmanager
def told_to_stop() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, so that a step is finished and kept; only the main thread can listen."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
