"""The blocks of a training set, in the order in which training draws them."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steps.core.artifacts import TrainingSet
from steps.core.steering import Steering, Steers
from steps.core.streams import Streams

if TYPE_CHECKING:
    import torch

VALIDATION = "train/validation_"  # before the task's name
REPLAY = "replay/"  # before the task's name, of a source that is replayed


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
                "position ids as their borders; set mix.document_mask to false, and leave out tasks with labelled rows"
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

    def num_replayed(self, step: int) -> int:
        """Those of a step's tokens that carry loss which are replayed."""
        draws_D4 = self._steps[step - 1]
        of_replay = np.isin(draws_D4[:, 0], [n for n, source in enumerate(self.sources) if source.startswith(REPLAY)])
        return int((draws_D4[of_replay, 3] - draws_D4[of_replay, 2]).sum())

    def micro_batches(self, step: int, size: int, rank: int = 0, num_ranks: int = 1) -> Iterator["MicroBatch"]:
        """A step's blocks, `size` at a time; those without loss are passed over. Of several processes, this one's."""
        yield from self._read(self._with_loss(step)[rank::num_ranks], size)

    def idle_batches(self, step: int, size: int, rank: int, num_ranks: int) -> Iterator["MicroBatch"]:
        """One block of the step for each micro-batch that the first process has and this one has not."""
        draws_D4 = self._with_loss(step)
        most, own = (math.ceil(len(draws_D4[each::num_ranks]) / size) for each in (0, rank))
        for _ in range(most - own):
            yield from self._read(draws_D4[:1], 1)

    def _with_loss(self, step: int) -> np.ndarray:
        draws_D4 = self._steps[step - 1]
        return draws_D4[draws_D4[:, 3] > draws_D4[:, 2]]

    @property
    def replays(self) -> bool:
        """Whether training draws anything that is replayed; a steered one: whether it can."""
        return any(len(draws_D4) for draws_D4 in self._replayed())

    def replayed(self, size: int) -> Iterator["MicroBatch"]:
        """Every replayed block that training draws, once and whole, `size` at a time; if steered, that it can draw."""
        for draws_D4 in self._replayed():
            yield from self._read(draws_D4, size)

    def _replayed(self) -> Iterator[np.ndarray]:
        drawn = None if self.steering else np.concatenate(self._steps)
        for number, source in enumerate(self.sources):
            if source.startswith(REPLAY):
                carry = self.streams.num_losses[number]
                if drawn is None:
                    blocks = np.flatnonzero(carry)
                else:
                    blocks = np.unique(drawn[(drawn[:, 0] == number) & (drawn[:, 3] > drawn[:, 2]), 1])
                lasts = carry[blocks]
                yield np.stack([np.full_like(lasts, number), blocks, np.zeros_like(lasts), lasts], axis=1)

    def _read(self, draws_D4: np.ndarray, size: int) -> Iterator["MicroBatch"]:
        for first in range(0, len(draws_D4), size):
            part_B4 = draws_D4[first : first + size]
            draws = [(source, block, first) for source, block, first, _ in part_B4.tolist()]
            yield MicroBatch(*self.streams.read(part_B4), [self.sources[source] for source, _, _ in draws], draws)


class MicroBatch(NamedTuple):
    """Some blocks of one step, tensors `[B, T]`; masks are bool, what no stream has is None."""

    input_ids: "torch.Tensor"
    loss_mask: "torch.Tensor"  # the targets that count
    position_ids: "torch.Tensor | None"  # begin anew where tokens do not see those before them
    changed: "torch.Tensor | None"  # what an older version of the document did not say
    padding: "torch.Tensor | None"  # tokens that only fill a block
    sources: list[str]
    draws: Sequence[tuple[int, int, int]] = ()  # of each row: source, block, the first of its loss tokens that counts

    def to(self, device: Any) -> "MicroBatch":
        """The same on a device."""
        return self._with(lambda tensor: tensor.to(device), self.sources, self.draws)

    def only(self, wanted_B: "torch.Tensor") -> "MicroBatch | None":
        """Some of its rows; none if it has none of them."""
        if bool(wanted_B.all()):
            return self
        if not bool(wanted_B.any()):
            return None
        rows = wanted_B.nonzero()[:, 0].tolist()
        draws = [self.draws[row] for row in rows] if self.draws else ()
        return self._with(lambda tensor: tensor[wanted_B], [self.sources[row] for row in rows], draws)

    def in_one_row(self) -> "MicroBatch":
        """Its rows behind each other, told apart by positions that begin anew: flash attention reads only these so."""
        return self._with(lambda tensor: tensor.reshape(1, -1), self.sources, self.draws)

    def _with(
        self,
        change: "Callable[[torch.Tensor], torch.Tensor]",
        sources: list[str],
        draws: Sequence[tuple[int, int, int]],
    ) -> "MicroBatch":
        def changed(tensor: "torch.Tensor | None") -> "torch.Tensor | None":
            return None if tensor is None else change(tensor)

        return MicroBatch(
            change(self.input_ids),
            change(self.loss_mask),
            changed(self.position_ids),
            changed(self.changed),
            changed(self.padding),
            sources,
            draws,
        )


def keeps_apart(network: Any) -> bool:
    """Whether a model takes position ids that begin anew as the border of documents: asked, not believed."""
    import torch

    tokens = [[0, 1, 2, 3], [3, 0, 2, 3]]  # another first document, the same second one
    try:
        with torch.no_grad():  # parameters that are cut must not become inference tensors
            logits_BTV = network(
                input_ids=torch.tensor(tokens, device=network.device),
                position_ids=torch.tensor([[0, 1, 0, 1]] * 2, device=network.device),
                use_cache=False,
            ).logits
    except TypeError:  # it takes no positions
        return False
    return bool(torch.allclose(logits_BTV[0, 2:], logits_BTV[1, 2:], rtol=1e-4, atol=1e-5))
