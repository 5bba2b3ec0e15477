"""Take out lines that many documents of a task share: menus, notices, headers, signatures."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from steps.core.method import Cite
from steps.core.ngrams import as_bytes
from steps.core.texts import Texts
from steps.methods.quality import Around, Judgement, Quality
from steps.methods.quality._lines import LineCounts, are_in, line_hashes

LINES = "lines.npy"
BATCH = 512


class RepeatedLines(Quality):
    """Remove repeated lines, and drop a document of which too little stays.

    Rule:       a line, without the white space around it and of at least `min_characters`, is repeated when more than
                max(max_documents, max_share · documents) distinct documents of the task hold it. Repeated lines are
                removed wherever they stand, the rest stays as it is; a document is dropped, as `repeated-lines`, when
                less than `min_share` of its characters stays.
    Units:      documents of this refresh; characters are code points. Lines are compared by 64-bit hashes
    Differs:    CCNet removes every paragraph that a shard of the crawl has seen before; here a line must be repeated
                often, and what other refreshes held does not count. A document that is there many times counts once,
                or else exact duplicates would be boilerplate to each other; near-duplicates do count.
    Reduces to: everything fit and unchanged, as max_documents grows (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="CCNet: Extracting High Quality Monolingual Datasets from Web Crawl Data",
        id="arXiv:1911.00359",
        where="deduplication of paragraphs by hash",
        checked="recalled",
    )

    max_documents: int = Field(10, ge=1, description="documents that may hold a line, at least so many")
    max_share: float = Field(0.001, ge=0, le=1, description="share of the task's documents that may hold a line, of 1")
    min_characters: int = Field(20, ge=1, description="shorter lines are never removed, characters")
    min_share: float = Field(0.5, ge=0, le=1, description="least share of a document's characters that must stay, of 1")

    def learn(self, around: Around) -> Mapping[str, float]:
        """Count lines twice: roughly, in bounded memory, and then exactly those that may be too many."""
        counts, number = LineCounts(self.min_characters), 0
        for texts in _batches(around.sample()):
            number += len(texts)
            counts.sketch(as_bytes(texts))
        limit = max(self.max_documents, int(self.max_share * counts.num_texts))
        counts.again()
        for texts in _batches(around.sample()):
            counts.count(as_bytes(texts), limit)
        repeated = counts.above(limit)
        np.save(around.folder / LINES, repeated)
        figures = {"documents": number, "distinct_documents": counts.num_texts, "limit": limit}
        return figures | {"repeated_lines": len(repeated)}

    def judge(self, texts: Texts, folder: Path) -> list[Judgement]:
        """Remove the repeated lines of each text."""
        lines, ends = line_hashes(as_bytes(texts.texts), self.min_characters)
        gone = are_in(lines, np.load(folder / LINES))
        number = np.concatenate([[0], np.cumsum(gone)])[ends]
        return [
            self._without(text, gone[ends[row] : ends[row + 1]])
            if number[row] < number[row + 1]
            else Judgement(found=1.0, limit=self.min_share)
            for row, text in enumerate(texts.texts)
        ]

    def _without(self, text: str, gone: np.ndarray) -> Judgement:
        lines, first = text.split("\n"), int(gone.argmax())
        begin = sum(len(line) + 1 for line in lines[:first])
        rest = "\n".join(line for line, out in zip(lines, gone.tolist(), strict=True) if not out)
        share, span = len(rest) / len(text), (begin, begin + len(lines[first]))
        if share < self.min_share:
            return Judgement("repeated-lines", share, self.min_share, span)
        return Judgement(found=share, limit=self.min_share, span=span, text=rest)


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(texts, BATCH)):
        yield batch
