"""Drop documents that are too short, too long, or hardly made of letters."""

from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from steps.core.compiled import compiled
from steps.core.cutter import ALPHA, SPACE
from steps.core.method import Cite
from steps.core.texts import Texts
from steps.core.tokens import character_classes
from steps.methods.quality import FIT, Judgement, Quality

LOST = 0xFFFD  # the replacement character: what stood there is gone


class Basic(Quality):
    """Length and character classes, in any script: a rule that fits manuals and code as well as prose.

    Rule:       drop when characters < min_characters (`too-short`) or > max_characters (`too-long`), when letters /
                visible characters < min_letter_share, or when control characters / characters > max_control_share
                (both `character-class`)
    Units:      characters are code points
    Reduces to: keep everything at (0, no limit, 0, 1) (exact)
    """

    cite: ClassVar[Cite] = Cite(title="Length and character classes", id="ours", where="this file", checked="code")

    min_characters: int = Field(40, ge=0, description="shortest document, characters")
    max_characters: int = Field(200_000, ge=1, description="longest document, characters")
    min_letter_share: float = Field(0.4, ge=0, le=1, description="letters among visible characters, least share of 1")
    max_control_share: float = Field(0.01, ge=0, le=1, description="control characters, largest share of 1")

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.min_characters > self.max_characters:
            raise ValueError(
                f"basic: min_characters {self.min_characters:,} is above max_characters {self.max_characters:,}; "
                "every document would be dropped"
            )
        return self

    def judge(self, texts: Texts, folder: Path) -> list[Judgement]:
        """One judgement for each text."""
        counts = np.zeros((len(texts), 4), dtype=np.int64)
        _count(texts.codes, texts.offsets, character_classes(), ALPHA, SPACE, LOST, counts)
        lengths = np.diff(texts.offsets).tolist()
        return [self._one(length, *own) for length, own in zip(lengths, counts.tolist(), strict=True)]

    def _one(self, length: int, visible: int, letters: int, control: int, first: int) -> Judgement:
        if length < self.min_characters:
            return Judgement("too-short", length, self.min_characters)
        if length > self.max_characters:
            return Judgement("too-long", length, self.max_characters)
        if letters < self.min_letter_share * max(1, visible):
            return Judgement("character-class", letters / max(1, visible), self.min_letter_share)
        if control > self.max_control_share * length:
            return Judgement("character-class", control / length, self.max_control_share, (first, first + 1))
        return FIT


@compiled
def _count(
    codes: np.ndarray, offsets: np.ndarray, classes: np.ndarray, alpha: int, space: int, lost: int, counts: np.ndarray
) -> None:
    """Of each text: visible characters, letters, control characters, and where the first of these stands."""
    for row in range(len(counts)):
        for place in range(offsets[row], offsets[row + 1]):
            code = codes[place]
            kind = classes[code]
            counts[row, 0] += not kind & space
            counts[row, 1] += (kind & alpha) != 0
            if code < 9 or 13 < code < 32 or code == 127 or code == lost:  # noqa: PLR1714 (a tuple is slow here)
                if counts[row, 2] == 0:
                    counts[row, 3] = place - offsets[row]
                counts[row, 2] += 1
