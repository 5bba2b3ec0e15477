"""What stands around a training loop: its blocks, its validation, and what may stop it."""

import contextlib
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.core.artifacts import TrainingSet, Validation
from steps.core.documents import read_items
from steps.core.likelihood import batches, encode, first_context, summed_losses
from steps.core.models import load_tokenizer

if TYPE_CHECKING:
    import torch

VALIDATION_BATCH = 8  # items read at once: memory, not numbers


class Blocks:
    """The packed blocks of a training set, N of T tokens, in training order.

    Raises:
        ValueError: the file does not hold what the artifact says, or a step has no token that carries loss.
    """

    def __init__(self, folder: Path, training_set: TrainingSet) -> None:
        from safetensors.torch import load_file

        tensors = load_file(folder / "blocks.safetensors")
        self.input_ids_NT, self.loss_mask_NT = tensors["input_ids"].long(), tensors["loss_mask"].bool()
        names = json.loads((folder / "plan.json").read_text(encoding="utf-8"))["sources"]
        self.sources_N: list[str] = [names[number] for number in tensors["source"].tolist()]
        self.per_step = training_set.blocks_per_step
        wanted = (training_set.num_steps * self.per_step, training_set.block_tokens)
        if wanted[0] == 0:
            raise ValueError(
                f"{folder}: the training set has no block; land more documents or raise plan.budget_tokens"
            )
        if wanted != tuple(self.input_ids_NT.shape) or wanted != tuple(self.loss_mask_NT.shape):
            raise ValueError(
                f"{folder}: wanted {wanted} blocks and tokens, found {tuple(self.input_ids_NT.shape)}; mix again"
            )
        if self.loss_mask_NT[:, 0].any():
            raise ValueError(f"{folder}: a block's first token carries loss, but nothing stands before it; mix again")
        empty = [step for step in range(1, training_set.num_steps + 1) if not self.num_losses(step)]
        if empty:
            raise ValueError(f"{folder}: step {empty[0]} has no token that carries loss; mix again with fewer steps")

    def check(self, num_embeddings: int) -> None:
        """Refuse tokens that the model does not have.

        Raises:
            ValueError: there is one; the blocks were made with another model's tokenizer.
        """
        low, high = int(self.input_ids_NT.min()), int(self.input_ids_NT.max())
        if low < 0 or high >= num_embeddings:
            raise ValueError(
                f"train: wanted tokens below {num_embeddings:,}, the model's vocabulary, found {low:,} to {high:,}; "
                "mix with this model's tokenizer"
            )

    def num_losses(self, step: int) -> int:
        """Tokens of a step that carry loss."""
        return int(self.loss_mask_NT[self._rows(step)].sum())

    def micro_batches(self, step: int, size: int) -> Iterator[tuple["torch.Tensor", "torch.Tensor", list[str]]]:
        """Tokens, loss mask and sources of a step's blocks, `size` at a time; those without loss are passed over."""
        rows = range(*self._rows(step).indices(len(self.sources_N)))
        for first in range(rows.start, rows.stop, size):
            part = slice(first, min(first + size, rows.stop))
            if self.loss_mask_NT[part].any():
                yield self.input_ids_NT[part], self.loss_mask_NT[part], self.sources_N[part]

    def _rows(self, step: int) -> slice:
        return slice((step - 1) * self.per_step, step * self.per_step)


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
            means[f"train/validation_{task}"] = nats / sum(len(text.tokens) for text in texts)
        return means


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
