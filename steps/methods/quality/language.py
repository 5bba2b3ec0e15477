"""Keep documents in the languages that are wanted."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

from steps.core.languages import LANGUAGES, READ_CHARACTERS, guesses
from steps.core.method import Cite
from steps.core.texts import Texts
from steps.methods.quality import FIT, Judgement, Quality

GUESSES = 3


class Language(Quality):
    """Drop a document whose likeliest wanted language is not likely enough; reason `language`.

    Rule:       max over wanted languages l of p(l | the first `read_characters`) > min_score
    Units:      probabilities of fastText's lid.176, 0..1; a language that is not among the first three has 0
    Differs:    FineWeb reads the whole text with lid.176.bin; we read its beginning with lid.176.ftz, the same model
                compressed to 0.9 MB, which is in a package. A score means something for this identifier only: 0.65
                of another is another rule. Text full of identifiers and code scores low (see docs/curation.md).
    Reduces to: keeping every document of a wanted language that is the likeliest at min_score = 0 (close)
    """

    cite: ClassVar[Cite] = Cite(
        title="The FineWeb Datasets: Decanting the Web for the Finest Text Data at Scale",
        id="arXiv:2406.17557",
        where="base filtering: fastText language score of 0.65",
        checked="secondary",
    )

    languages: tuple[str, ...] = Field(("en",), min_length=1, description="ISO 639-1 codes of what is wanted")
    min_score: float = Field(0.65, ge=0, lt=1, description="probability that must be exceeded, 0..1")
    read_characters: int = Field(READ_CHARACTERS, ge=1, description="how much of a text is read, from its beginning")

    @field_validator("languages")
    @classmethod
    def _can_be_told(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        strangers = [code for code in codes if code not in LANGUAGES]
        if strangers:
            raise ValueError(f"languages: cannot tell {', '.join(strangers)}; there are: {', '.join(LANGUAGES)}")
        return codes

    def judge(self, texts: Texts, folder: Path) -> list[Judgement]:
        """One judgement for each text; `found` is the score of the likeliest wanted language."""
        judgements = []
        for found in guesses(texts.texts, GUESSES, self.read_characters):
            score = max((score for code, score in found if code in self.languages), default=0.0)
            judgements.append(FIT if score > self.min_score else Judgement("language", score, self.min_score))
        return judgements
