"""The documents of one source as a stream of blocks: written as rows, read again and again, packed."""

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from steps.core.packing import pack_rows
from steps.core.rows import Row, Writer
from steps.core.state import CountedDocument
from steps.core.streams import Packed, pack

logger = logging.getLogger(__name__)

AHEAD_TOKENS = 1 << 16  # that are tokenised at a time

Order = Callable[[np.ndarray, int, int], np.ndarray]  # tokens of each document, tokens asked for, epoch -> places


class Feed:
    """What one source gives to its stream.

    A labelled row longer than a block is cut at the block's end; it, or one that is short, is left out where no token
    that carries loss remains. `apart`: texts without labels do not see each other, as labelled rows never do.
    """

    def __init__(
        self, name: str, documents: Sequence[CountedDocument], writer: Writer, block_tokens: int, *, apart: bool
    ) -> None:
        self.name, self.documents, self.writer = name, documents, writer
        self.block_tokens, self.apart = block_tokens, apart
        self.is_labelled = any(document.messages for document in documents)
        self.times: Counter[tuple[str, str]] = Counter()  # how often each document was begun, by key and content hash
        self.told: Counter[str] = Counter()  # labelled rows that are cut or left out, by why
        self._rows: dict[int, Row | None] = {}

    def packed(self, order: Order, wanted: int) -> Packed:
        """A stream that carries the wanted loss tokens.

        Raises:
            ValueError: there is no text, or it carries hardly any loss.
        """
        if not sum(document.num_tokens for document in self.documents):
            raise ValueError(f"{self.name}: plan wants {wanted:,} tokens, found no text; plan again")
        if self.is_labelled:
            return pack_rows(self._fed(order, wanted), wanted, self.block_tokens, self.writer.end, apart=self.apart)
        asked = (-(-wanted // (self.block_tokens - 1)) + self.apart) * self.block_tokens
        marks: list[np.ndarray] = []

        def tokens() -> Iterator[np.ndarray]:
            for row in self._fed(order, asked):
                marks.extend([] if row.changed is None else [row.changed])
                yield row.tokens

        packed = pack(tokens(), wanted, self.block_tokens, apart=self.apart)
        if not marks:
            return packed
        changed = np.concatenate(marks)[: packed.input_ids.size].astype(np.uint8)
        return packed._replace(changed=changed.reshape(packed.input_ids.shape))

    def facts(self, packed: Packed) -> dict[str, float]:
        """What of a stream is padding, and how many labelled rows were cut or left out, by why."""
        assert packed.padding is not None
        share = float(packed.padding.mean())
        told = {why: count for why, count in sorted(self.told.items()) if count}
        logger.info("%s: %.1f %% padding; labelled rows: %s", self.name, 100 * share, _listed(told) or "all whole")
        return {"padding_share": share, **told}

    def compared(self) -> tuple[int, int]:
        """How many of the documents in the stream have an older version with another text, and how many have none."""
        older = self.writer.older or {}
        with_older = sum(key in older and older[key].content_hash != text for key, text in self.times)
        return with_older, len(self.times) - with_older

    def _fed(self, order: Order, asked: int) -> Iterator[Row]:
        """The documents in order, without end; what is never asked for is not read."""
        lengths_N = np.array([document.num_tokens + self._ends(document) for document in self.documents])
        left = asked
        for epoch in itertools.count():
            places = order(lengths_N, asked, epoch).tolist()
            has_loss = False
            while places:
                held = np.cumsum(lengths_N[places])
                count = 1 + int(np.searchsorted(held, max(1, min(AHEAD_TOKENS, left))))
                ahead, places = places[:count], places[count:]
                self._write([place for place in ahead if place not in self._rows])
                for place in ahead:
                    left -= int(lengths_N[place])
                    if (row := self._rows[place]) is None:
                        continue
                    has_loss = True
                    self.times[self.documents[place].key, self.documents[place].content_hash] += 1
                    yield row
            if not has_loss:
                raise ValueError(
                    f"{self.name}: no labelled row has a completion within {self.block_tokens} tokens "
                    f"({_listed(self.told)}); raise mix.block_tokens, or leave the task out"
                )

    def _ends(self, document: CountedDocument) -> bool:
        return not self.apart and not document.messages

    def _write(self, places: Sequence[int]) -> None:
        before = self.writer.told.copy()
        rows = self.writer.rows([self.documents[place] for place in places])
        self.told += self.writer.told - before
        for place, row in zip(places, rows, strict=True):
            self._rows[place] = self._cut(row) if row and row.carries is not None else row

    def _cut(self, row: Row) -> Row | None:
        """A labelled row as a block can hold it; none where it would carry no loss."""
        assert row.carries is not None
        long = len(row.tokens) > self.block_tokens
        if not row.carries[1 : self.block_tokens].any():
            self.told["no-completion-in-block" if long else "no-completion"] += 1
            return None
        self.told["cut"] += long
        most = self.block_tokens
        return Row(row.tokens[:most], row.carries[:most], None if row.changed is None else row.changed[:most])


def _listed(told: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {why}" for why, count in sorted(told.items()) if count)
