"""Packed streams: the tokens of one source in blocks of one length, and the draws of these blocks in training order.

`streams/<n>.safetensors`, for B blocks of T tokens: `input_ids` int32 [B, T]; `num_losses` int32 [B]; and, where
documents are kept apart, `position_ids` int32 [B, T]; where rows are labelled (`steps/core/packing.py`), `loss_mask`
and `padding` uint8 [B, T]; where changes are marked, `changed` uint8 [B, T]. A token carries loss where its position is
above 0 and its loss mask, if there is one, is 1: the first of a block has nothing before it, and neither has the first
of a document that is kept apart.

One stream with positions makes all to be read with positions: a block of another stream is then one document.

A draw is four numbers: the source, its block, and which of the block's loss tokens count, `[first, last)`. A block that
is cut, so that a share is exact to the token, is drawn again later for the rest of its loss. `order.npy` holds the
draws, int32 [D, 4]; source -1 only fills the last step.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steps.core.shards import digest_of_files, write_array

if TYPE_CHECKING:
    import torch

PADDING = (-1, 0, 0, 0)
MANY = 4096  # blocks looked at together
THIN = 64  # tokens per loss token, beyond which packing would not end


class Packed(NamedTuple):
    """The blocks of one source: loss tokens `[B]`, all else `[B, T]`; what is None is not written."""

    input_ids: np.ndarray
    position_ids: np.ndarray | None
    num_losses: np.ndarray
    loss_mask: np.ndarray | None = None
    padding: np.ndarray | None = None
    changed: np.ndarray | None = None


def pack(pieces: Iterator[np.ndarray], wanted: int, block_tokens: int, *, apart: bool = False) -> Packed:
    """Fill blocks with pieces, one after the other, until whole blocks carry the wanted loss tokens.

    `apart`: pieces are documents that do not see each other, also not in one block.

    Raises:
        ValueError: the pieces carry hardly any loss.
    """
    num_blocks = -(-wanted // (block_tokens - 1))
    flat = np.empty(num_blocks * block_tokens, dtype=np.int32)
    positions = np.empty(len(flat) if apart else 0, dtype=np.int32)
    counting = np.arange(block_tokens, dtype=np.int32)
    losses = [0] * num_blocks
    filled = carried = 0
    for whole in pieces:
        piece = whole
        while len(piece) and (carried < wanted or filled % block_tokens):
            block, place = divmod(filled, block_tokens)
            if filled == len(flat):  # documents that are kept apart carry less
                more = max(1, num_blocks // 8)
                flat.resize(len(flat) + more * block_tokens, refcheck=False)
                positions.resize(len(flat), refcheck=False)
                losses += [0] * more
            part, piece = piece[: block_tokens - place], piece[block_tokens - place :]
            flat[filled : filled + len(part)] = part
            if apart:
                positions[filled : filled + len(part)] = counting[: len(part)]
            first = int(apart or place == 0)
            losses[block] += len(part) - first
            carried += len(part) - first
            filled += len(part)
        if carried >= wanted and filled % block_tokens == 0:
            break
        if filled > THIN * (wanted + block_tokens):
            raise ValueError(
                f"mix: {filled:,} tokens carry {carried:,} of {wanted:,} loss tokens: their documents are hardly "
                "longer than one token; leave them out, or set mix.document_mask to false"
            )
    shape = (filled // block_tokens, block_tokens)
    placed = positions[:filled].reshape(shape) if apart else None
    return Packed(flat[:filled].reshape(shape), placed, np.array(losses[: shape[0]], dtype=np.int32))


def write_stream(folder: Path, number: int, packed: Packed) -> None:
    """Write the stream of a source."""
    from safetensors.numpy import save_file

    path = folder / "streams" / f"{number}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor for name, tensor in packed._asdict().items() if tensor is not None}, path)


def write_order(folder: Path, draws: Sequence[tuple[int, int, int, int]], per_step: int) -> None:
    """Write the draws of all steps; the last step is filled up."""
    filler = [PADDING] * (-len(draws) % per_step)
    write_array(folder / "order.npy", np.array([*draws, *filler], dtype=np.int32).reshape(-1, 4))


def digest_of_streams(folder: Path) -> str:
    """The digest of all streams and of their order."""
    files = [*sorted((folder / "streams").glob("*.safetensors")), folder / "order.npy"]
    return digest_of_files({path.name: path for path in files if path.exists()})


def cut(num_losses_B: np.ndarray, start: int, stop: int) -> list[tuple[int, int, int]]:
    """The blocks that hold a source's loss tokens `start` to `stop`: block, first and last of its loss tokens."""
    ends = np.cumsum(num_losses_B, dtype=np.int64)
    assert 0 <= start <= stop <= (int(ends[-1]) if len(ends) else 0), f"{start} to {stop} is more than the stream has"
    found = []
    for block in range(int(np.searchsorted(ends, start, side="right")), len(ends)):
        before = int(ends[block] - num_losses_B[block])
        if before >= stop:
            break
        first, last = max(start - before, 0), min(stop - before, int(num_losses_B[block]))
        if last > first:
            found.append((block, first, last))
    return found


def interleave(counts: Mapping[str, int], groups: Sequence[int]) -> list[str]:
    """The source of every block, so that each group is as near the shares of the whole as it can be.

    `groups`: the blocks of each optimiser step. A step's places go, one by one, to the source that is furthest behind
    its share of all steps so far: the largest remainder, with what the steps before left over.
    """
    total = sum(counts.values())
    assert total == sum(groups), f"{total} blocks do not fill groups of {sum(groups)}"
    taken = dict.fromkeys(counts, 0)
    order: list[str] = []
    for size in groups:
        end = len(order) + size
        for _ in range(size):
            which = max(
                (source for source, count in counts.items() if taken[source] < count),
                key=lambda source: counts[source] * end - taken[source] * total,
            )
            taken[which] += 1
            order.append(which)
    return order


def steps_of(count: int, per_step: int, before: int = 0) -> list[int]:
    """How some blocks fall into optimiser steps, when some blocks came before them."""
    first = min(count, -before % per_step)
    whole, rest = divmod(count - first, per_step)
    return [size for size in (first, *[per_step] * whole, rest) if size]


class Read(NamedTuple):
    """Some blocks as training reads them, tensors `[B, T]`; masks are bool, what no stream has is None."""

    input_ids: "torch.Tensor"
    loss_mask: "torch.Tensor"
    position_ids: "torch.Tensor | None"  # begin anew where tokens do not see those before them
    changed: "torch.Tensor | None"  # what an older version of the document did not say
    padding: "torch.Tensor | None"  # tokens that only fill a block


class Streams:
    """The streams of a training set, read block by block."""

    def __init__(self, folder: Path, num_sources: int) -> None:
        from safetensors import safe_open

        paths = [folder / "streams" / f"{number}.safetensors" for number in range(num_sources)]
        files: list[Any] = [safe_open(path, framework="pt") for path in paths]
        self.num_losses: list[np.ndarray] = [file.get_tensor("num_losses").numpy() for file in files]
        self._tensors = [
            {name: file.get_slice(name) for name in file.keys() if name != "num_losses"}  # noqa: SIM118 - no mapping
            for file in files
        ]
        self.kept = {name for tensors in self._tensors for name in tensors}  # by one stream at least
        self.apart = "position_ids" in self.kept

    def shapes(self) -> list[tuple[int, int]]:
        """Blocks and tokens of each."""
        return [tuple(tensors["input_ids"].get_shape()) for tensors in self._tensors]

    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest token of all."""
        low, high = 0, 0
        for tensors, (num_blocks, _) in zip(self._tensors, self.shapes(), strict=True):
            for start in range(0, num_blocks, MANY):
                part_BT = tensors["input_ids"][start : start + MANY]
                low, high = min(low, int(part_BT.min())), max(high, int(part_BT.max()))
        return low, high

    def read(self, draws_B4: np.ndarray) -> Read:
        """What training reads of some draws."""
        import torch

        rows = [(int(source), int(block)) for source, block, _, _ in draws_B4]

        def gather(tensor: str, absent: torch.Tensor) -> torch.Tensor:
            found = [self._tensors[source].get(tensor) for source, _ in rows]
            pairs = zip(found, rows, strict=True)
            return torch.cat([absent if part is None else part[block : block + 1] for part, (_, block) in pairs])

        input_ids_BT = torch.cat([self._tensors[source]["input_ids"][block : block + 1] for source, block in rows])
        num_tokens = input_ids_BT.shape[1]
        placed_BT = gather("position_ids", torch.arange(num_tokens, dtype=torch.int32)[None]).long()
        nothing_1T = torch.zeros((1, num_tokens), dtype=torch.uint8)
        padding_BT = gather("padding", nothing_1T).bool() if "padding" in self.kept else None
        changed_BT = gather("changed", nothing_1T).bool() if "changed" in self.kept else None
        carries_BT = placed_BT > 0
        if "loss_mask" in self.kept:
            carries_BT &= gather("loss_mask", nothing_1T + 1).bool()
        number_BT = carries_BT.cumsum(dim=1) - 1  # of the loss tokens of its block
        bounds_B2 = torch.from_numpy(np.ascontiguousarray(draws_B4[:, 2:]))
        counts_BT = (number_BT >= bounds_B2[:, :1]) & (number_BT < bounds_B2[:, 1:])
        loss_mask_BT = carries_BT & counts_BT
        return Read(input_ids_BT.long(), loss_mask_BT, placed_BT if self.apart else None, changed_BT, padding_BT)
