"""Drop documents that are too short, too long, or hardly made of letters."""

import re
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from steps.core.method import Cite
from steps.core.texts import Texts
from steps.methods.quality import FIT, Judgement, Quality

LETTERS = re.compile(r"[^\W\d_]+")
SPACE = re.compile(r"\s+")
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f�]")  # control characters but white space, and the replacement character


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
        return [self._one(text) for text in texts.texts]

    def _one(self, text: str) -> Judgement:
        if len(text) < self.min_characters:
            return Judgement("too-short", len(text), self.min_characters)
        if len(text) > self.max_characters:
            return Judgement("too-long", len(text), self.max_characters)
        visible = max(1, len(text) - sum(map(len, SPACE.findall(text))))
        letters = sum(map(len, LETTERS.findall(text)))
        if letters < self.min_letter_share * visible:
            return Judgement("character-class", letters / visible, self.min_letter_share)
        control = [match.start() for match in CONTROL.finditer(text)]
        if len(control) > self.max_control_share * len(text):
            share = len(control) / len(text)
            return Judgement("character-class", share, self.max_control_share, (control[0], control[0] + 1))
        return FIT
