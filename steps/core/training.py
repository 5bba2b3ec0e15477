"""What stands around a training loop: its blocks, its validation, and what may stop it."""

import contextlib
import json
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steps.core.artifacts import TrainingSet, Validation
from steps.core.documents import read_items
from steps.core.likelihood import batches, encode, first_context, summed_losses
from steps.core.models import load_tokenizer
from steps.core.steering import Steering, Steers
from steps.core.streams import Streams

if TYPE_CHECKING:
    import torch

VALIDATION = "train/validation_"  # before the task's name
VALIDATION_BATCH = 8  # items read at once: memory, not numbers


class Blocks:
    """The blocks of a training set, T tokens each, in the order in which its steps draw them.

    Raises:
        ValueError: the files do not hold what the artifact says, or a step has no token that carries loss.
    """

    def __init__(self, folder: Path, training_set: TrainingSet, mixture: Steers | None = None) -> None:
        facts = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        self.sources: list[str] = facts["sources"]
        self.training_set = training_set
        if not training_set.num_steps:
            raise ValueError(
                f"{folder}: the training set has no block; land more documents or raise plan.budget_tokens"
            )
        self.streams = Streams(folder, len(self.sources))
        tokens = {num_tokens for _, num_tokens in self.streams.shapes()}
        if tokens != {training_set.block_tokens}:
            raise ValueError(
                f"{folder}: wanted blocks of {training_set.block_tokens} tokens, found {sorted(tokens)}; mix again"
            )
        self.steering: Steering | None = None
        if mixture:
            assert training_set.steered, "only a steered training set has a mixture"
            num_losses = dict(zip(self.sources, self.streams.num_losses, strict=True))
            update_steps, planned = int(training_set.steered["update_steps"]), training_set.planned
            self.steering = Steering(
                mixture, update_steps, training_set.num_steps, num_losses, facts["in_streams"], planned
            )
            self._steps = self.steering.steps
        else:
            self._steps = self._ordered(folder)

    def _ordered(self, folder: Path) -> list[np.ndarray]:
        draws_D4 = np.load(folder / "order.npy", allow_pickle=False)
        wanted = self.training_set.num_steps * self.training_set.blocks_per_step
        if len(draws_D4) != wanted:
            raise ValueError(f"{folder}: wanted {wanted:,} draws of blocks, found {len(draws_D4):,}; mix again")
        for number, num_losses_B in enumerate(self.streams.num_losses):
            _, blocks, _, lasts = draws_D4[draws_D4[:, 0] == number].T
            if len(blocks) and (blocks.max() >= len(num_losses_B) or (lasts > num_losses_B[blocks]).any()):
                raise ValueError(f"{folder}: {self.sources[number]} has fewer blocks than are drawn; mix again")
        steps = np.split(draws_D4, self.training_set.num_steps)
        empty = [step for step, draws in enumerate(steps, 1) if not (draws[:, 3] > draws[:, 2]).any()]
        if empty:
            raise ValueError(f"{folder}: step {empty[0]} has no token that carries loss; mix again with fewer steps")
        return steps

    def check(self, network: Any) -> None:
        """Refuse tokens that the model does not have, and a model that cannot keep documents apart.

        Raises:
            ValueError: the blocks were made with another model's tokenizer, or the model reads across documents.
        """
        num_embeddings = network.get_input_embeddings().num_embeddings
        low, high = self.streams.bounds()
        if low < 0 or high >= num_embeddings:
            raise ValueError(
                f"train: wanted tokens below {num_embeddings:,}, the model's vocabulary, found {low:,} to {high:,}; "
                "mix with this model's tokenizer"
            )
        if self.streams.apart and not keeps_apart(network):
            raise ValueError(
                f"train: {type(network).__name__} reads across the documents of a block, wanted one that takes "
                "position ids as their borders; set mix.document_mask to false"
            )

    def decides(self, step: int) -> bool:
        """Whether the shares of the next steps hang on the losses after this one."""
        return self.steering is not None and self.steering.decides(step)

    def look(self, step: int, losses: Mapping[str, float]) -> dict[str, float]:
        """Decide on the next steps, if this is where; what was drawn and decided, to be told."""
        if self.steering is None:
            return {}
        told = self.steering.told(step)
        if self.steering.decides(step):
            told |= self.steering.decide(step, {name.removeprefix(VALIDATION): loss for name, loss in losses.items()})
        return told

    def decisions(self) -> list[dict[str, Any]]:
        """All decisions so far, for a checkpoint."""
        return self.steering.decisions if self.steering else []

    def restore(self, decisions: Sequence[Mapping[str, Any]]) -> None:
        """Draw as a checkpoint's run did."""
        if self.steering:
            self.steering.restore(decisions)

    def achieved(self) -> dict[str, int]:
        """Loss tokens drawn so far, by source."""
        found = dict.fromkeys(self.sources, 0)
        for draws_D4 in self._steps:
            for source, _, first, last in draws_D4.tolist():
                if last > first:
                    found[self.sources[source]] += last - first
        return found

    def num_losses(self, step: int) -> int:
        """Tokens of a step that carry loss."""
        draws_D4 = self._steps[step - 1]
        return int((draws_D4[:, 3] - draws_D4[:, 2]).sum())

    def micro_batches(self, step: int, size: int) -> Iterator["MicroBatch"]:
        """A step's blocks, `size` at a time; those without loss are passed over."""
        draws_D4 = self._steps[step - 1]
        draws_D4 = draws_D4[draws_D4[:, 3] > draws_D4[:, 2]]
        for first in range(0, len(draws_D4), size):
            part_B4 = draws_D4[first : first + size]
            yield MicroBatch(*self.streams.read(part_B4), [self.sources[source] for source in part_B4[:, 0]])


class MicroBatch(NamedTuple):
    """Some blocks of one step, tensors `[B, T]`."""

    input_ids: "torch.Tensor"
    loss_mask: "torch.Tensor"
    position_ids: "torch.Tensor | None"
    sources: list[str]

    def tensors(self, device: Any) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]":
        """What the loss is computed from, on a device."""
        placed_BT = None if self.position_ids is None else self.position_ids.to(device)
        return self.input_ids.to(device), self.loss_mask.to(device), placed_BT


def keeps_apart(network: Any) -> bool:
    """Whether a model takes position ids that begin anew as the border of documents: asked, not believed."""
    import torch

    tokens = [[0, 1, 2, 3], [3, 0, 2, 3]]  # another first document, the same second one
    try:
        with torch.inference_mode():
            logits_BTV = network(
                input_ids=torch.tensor(tokens, device=network.device),
                position_ids=torch.tensor([[0, 1, 0, 1]] * 2, device=network.device),
                use_cache=False,
            ).logits
    except TypeError:  # it takes no positions
        return False
    return bool(torch.allclose(logits_BTV[0, 2:], logits_BTV[1, 2:], rtol=1e-4, atol=1e-5))


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
