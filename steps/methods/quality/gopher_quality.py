"""Drop documents that do not look like prose."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from steps.core.method import Cite
from steps.core.texts import Texts
from steps.methods.quality import Judgement, Quality
from steps.methods.quality._gopher import judge_gopher
from steps.methods.quality._shared import judgements, limit_of

REASONS = [
    "gopher_short_doc",
    "gopher_long_doc",
    "gopher_below_avg_threshold",
    "gopher_above_avg_threshold",
    "gopher_too_many_hashes",
    "gopher_too_many_ellipsis",
    "gopher_too_many_bullets",
    "gopher_too_many_end_ellipsis",
    "gopher_below_alpha_threshold",
    "gopher_enough_stop_words",
]


class GopherQuality(Quality):
    """Gopher's rules of quality, as datatrove applies them; the first that fails gives the reason.

    Rule:       words are spaCy's, plain words those with a character that is no symbol. Drop when, in this order: plain
                words < min_doc_words or > max_doc_words; their mean length < min_avg_word_length or >
                max_avg_word_length; `#` / words, or ellipses / words > max_symbol_word_ratio; lines that start with a
                bullet / lines > max_bullet_lines_ratio; lines that end in an ellipsis / lines >
                max_ellipsis_lines_ratio; words with a letter / words < min_alpha_words_ratio; of the stop words fewer
                than min_stop_words are there, in this spelling
    Units:      lengths in code points; a limit of 0 or none is not applied
    Differs:    a text without a word is `gopher_short_doc` at any limit, where datatrove divides by zero;
                min_alpha_words_ratio is called max_non_alpha_words_ratio there
    Reduces to: drop texts without a word, when no limit is applied (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="Scaling Language Models: Methods, Analysis & Insights from Training Gopher",
        id="arXiv:2112.11446",
        where="appendix A.1; datatrove's GopherQualityFilter",
        checked="code",
    )

    min_doc_words: int | None = Field(50, ge=0, description="shortest document, plain words")
    max_doc_words: int | None = Field(100_000, ge=0, description="longest document, plain words")
    min_avg_word_length: float | None = Field(3, ge=0, description="least mean length of plain words, characters")
    max_avg_word_length: float | None = Field(10, ge=0, description="largest mean length of plain words, characters")
    max_symbol_word_ratio: float | None = Field(0.1, ge=0, description="`#`, or ellipses, for each word, at most")
    max_bullet_lines_ratio: float | None = Field(0.9, ge=0, description="lines that start with • or -, share of 1")
    max_ellipsis_lines_ratio: float | None = Field(0.3, ge=0, description="lines that end in an ellipsis, share of 1")
    min_alpha_words_ratio: float | None = Field(0.8, ge=0, description="words with a letter, least share of 1")
    min_stop_words: int | None = Field(2, ge=0, description="different stop words, at least")
    stop_words: tuple[str, ...] = Field(
        ("the", "be", "to", "of", "and", "that", "have", "with"), description="words that prose cannot do without"
    )

    def judge(self, texts: Texts, folder: Path) -> list[Judgement]:
        """One judgement for each text; `span` is the first offending part, or the longest word."""
        limits = [
            limit_of(self.min_doc_words, off=0.0),
            limit_of(self.max_doc_words),
            limit_of(self.min_avg_word_length, off=0.0),
            limit_of(self.max_avg_word_length),
            limit_of(self.max_symbol_word_ratio),
            limit_of(self.max_symbol_word_ratio),
            limit_of(self.max_bullet_lines_ratio),
            limit_of(self.max_ellipsis_lines_ratio),
            limit_of(self.min_alpha_words_ratio, off=0.0),
            limit_of(self.min_stop_words, off=0.0),
        ]
        return judgements(texts, judge_gopher(texts, self.stop_words, limits), REASONS, limits)
