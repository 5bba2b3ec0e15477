"""Labelled rows packed into blocks: whole where they fit, and the rest of a block is padding.

Rows are gathered in windows of `WINDOW_BLOCKS` blocks' tokens and placed best-fit-decreasing: the longest first, each
into the fullest block that still has room. Within a window blocks stand in the order of their first rows, and so do the
rows of a block, so that the order of the documents holds from window to window. Nothing is left to chance.

Rows in one block never see each other: positions begin anew with each, and with the padding. Plain text in the same
source fills blocks of its own, over their borders; only its last block may end with padding.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence

import numpy as np

from steps.core.rows import Row
from steps.core.streams import Packed

WINDOW_BLOCKS = 64


def pack_rows(rows: Iterator[Row], wanted: int, block_tokens: int, filler: int, *, apart: bool = False) -> Packed:
    """Place rows of at most T tokens until they carry the wanted loss tokens; rows are asked for one by one.

    `filler`: the token of padding; `apart`: texts without labels do not see each other either.
    """
    blocks: list[_Block] = []
    window: list[_Block] = []
    labelled: list[tuple[int, Row]] = []
    text: _Block | None = None
    held = carried = 0
    for arrival, row in enumerate(rows):
        held += len(row.tokens)
        if row.carries is not None:
            assert len(row.tokens) <= block_tokens, "a row is cut before it is packed"
            labelled.append((arrival, row))
            carried += int(row.carries[1:].sum())
        else:
            rest = row
            while len(rest.tokens):
                text = text or _Block(block_tokens, filler, arrival)
                rest, num_losses = text.add_text(rest, apart=apart)
                carried += num_losses
                if text.room == 0:
                    window, text = [*window, text], None
        if carried >= wanted:
            break
        if held >= WINDOW_BLOCKS * block_tokens:
            blocks += _ordered(window, labelled, block_tokens, filler)
            window, labelled, held = [], [], 0
    blocks += _ordered([*window, *([text] if text else [])], labelled, block_tokens, filler)
    return _packed([block.closed() for block in blocks])


def best_fit(lengths: Sequence[int], room: int) -> list[list[int]]:
    """The places of pieces in bins of one size: the longest first, each into the fullest bin that has room for it."""
    found: list[list[int]] = []
    free: list[tuple[int, int]] = []  # room and number of each bin, in order
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        fitting = bisect_left(free, (lengths[place], -1))
        left, number = free.pop(fitting) if fitting < len(free) else (room, len(found))
        if number == len(found):
            found.append([])
        found[number].append(place)
        insort(free, (left - lengths[place], number))
    return found


class _Block:
    """One block while it is filled."""

    def __init__(self, block_tokens: int, filler: int, arrival: int) -> None:
        self.arrival = arrival  # of its first row
        self.room = block_tokens
        self.input_ids = np.full(block_tokens, filler, dtype=np.int32)
        self.position_ids = np.zeros(block_tokens, dtype=np.int32)
        self.loss_mask = np.zeros(block_tokens, dtype=np.uint8)
        self.padding = np.zeros(block_tokens, dtype=np.uint8)
        self.changed: np.ndarray | None = None

    def add(self, row: Row, first_position: int = 0) -> None:
        start, stop = len(self.input_ids) - self.room, len(self.input_ids) - self.room + len(row.tokens)
        self.room -= len(row.tokens)
        self.input_ids[start:stop] = row.tokens
        self.position_ids[start:stop] = np.arange(first_position, first_position + len(row.tokens))
        self.loss_mask[start:stop] = 1 if row.carries is None else row.carries
        if first_position == 0:
            self.loss_mask[start] = 0  # nothing stands before it
        if row.changed is not None:
            if self.changed is None:
                self.changed = np.zeros(len(self.input_ids), dtype=np.uint8)
            self.changed[start:stop] = row.changed

    def add_text(self, row: Row, *, apart: bool) -> tuple[Row, int]:
        """Add what there is room for; the rest, and the loss tokens that were added."""
        part = Row(row.tokens[: self.room], None, None if row.changed is None else row.changed[: self.room])
        rest = Row(row.tokens[self.room :], None, None if row.changed is None else row.changed[self.room :])
        first_position = 0 if apart else len(self.input_ids) - self.room
        self.add(part, first_position)
        return rest, len(part.tokens) - (first_position == 0)

    def closed(self) -> "_Block":
        """With padding to its end."""
        if self.room:
            self.padding[-self.room :] = 1
            self.position_ids[-self.room :] = np.arange(self.room)
        return self


def _ordered(
    texts: Sequence[_Block], labelled: Sequence[tuple[int, Row]], block_tokens: int, filler: int
) -> list[_Block]:
    """The blocks of a window, those of plain text among them."""
    blocks = list(texts)
    for places in best_fit([len(row.tokens) for _, row in labelled], block_tokens):
        first, *_ = own = sorted(places)
        blocks.append(block := _Block(block_tokens, filler, labelled[first][0]))
        for place in own:
            block.add(labelled[place][1])
    return sorted(blocks, key=lambda block: block.arrival)


def _packed(blocks: Sequence[_Block]) -> Packed:
    marks = [block.changed for block in blocks]
    loss_mask = np.stack([block.loss_mask for block in blocks])
    return Packed(
        np.stack([block.input_ids for block in blocks]),
        np.stack([block.position_ids for block in blocks]),
        loss_mask.sum(axis=1, dtype=np.int32),
        loss_mask,
        np.stack([block.padding for block in blocks]),
        None if all(part is None for part in marks) else _stacked(marks, loss_mask),
    )


def _stacked(marks: Sequence[np.ndarray | None], like: np.ndarray) -> np.ndarray:
    return np.stack([np.zeros_like(row) if part is None else part for part, row in zip(marks, like, strict=True)])
