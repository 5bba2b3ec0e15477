"""Drop documents that say the same again and again."""

from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from steps.core.method import Cite
from steps.core.texts import Texts
from steps.methods.quality import Judgement, Quality
from steps.methods.quality._repetition import Limits, judge_repetition
from steps.methods.quality._shared import Lines, Verdicts, judgements, limit_of, lines_of, repeated

Shares = tuple[tuple[Annotated[int, Field(ge=1)], float], ...]


class GopherRepetition(Quality):
    """Gopher's rules against repetition, as datatrove applies them; the first that fails gives the reason.

    Rule:       a repeat is every occurrence after the first. Drop when, in this order: repeated paragraphs / paragraphs
                > dup_para_frac, characters of repeated paragraphs / characters > dup_para_char_frac, the same of lines;
                characters of the most frequent n-gram (its words with a space between, times its occurrences) /
                characters > the share for n (`top_<n>_gram`); characters of repeated n-grams, no two of which overlap,
                / characters > the share for n (`duplicated_<n>_n_grams`). An empty text is `empty`.
    Units:      characters are code points; paragraphs are parted by two line feeds or more, lines by one or more;
                words are spaCy's. A limit of 0 or none is not applied, for n-grams only a list without them
    Differs:    n-grams are compared word by word, by 64-bit hashes, where datatrove compares those of 5 to 10 words by
                their characters run together (`ab c` and `a bc` are one to it)
    Reduces to: drop the empty text only, without limits and n-grams (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="Scaling Language Models: Methods, Analysis & Insights from Training Gopher",
        id="arXiv:2112.11446",
        where="table A1; datatrove's GopherRepetitionFilter",
        checked="code",
    )

    dup_para_frac: float | None = Field(0.3, ge=0, description="repeated paragraphs, largest share of paragraphs")
    dup_para_char_frac: float | None = Field(0.2, ge=0, description="characters in them, largest share of characters")
    dup_line_frac: float | None = Field(0.3, ge=0, description="repeated lines, largest share of lines")
    dup_line_char_frac: float | None = Field(0.2, ge=0, description="characters in them, largest share of characters")
    top_n_grams: Shares = Field(
        ((2, 0.20), (3, 0.18), (4, 0.16)), description="words, and largest share of characters in the most frequent one"
    )
    dup_n_grams: Shares = Field(
        ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)),
        description="words, and largest share of characters in repeated ones",
    )

    def judge(self, texts: Texts, folder: Path) -> list[Judgement]:
        """One judgement for each text; `span` is the first repeated part, or the most frequent n-gram's first place."""
        lengths = np.diff(texts.offsets)
        knobs = (self.dup_para_frac, self.dup_para_char_frac, self.dup_line_frac, self.dup_line_char_frac)
        verdicts = Verdicts.fit(len(texts))
        for place, lines in enumerate((lines_of(texts, newlines=2, stripped=True), lines_of(texts))):
            self._judge_lines(lines, lengths, knobs[2 * place :], 2 * place, verdicts)
        reasons = ["dup_para_frac", "dup_para_char_frac", "dup_line_frac", "dup_line_char_frac"]
        reasons += [f"top_{size}_gram" for size, _ in self.top_n_grams]
        reasons += [f"duplicated_{size}_n_grams" for size, _ in self.dup_n_grams] + ["empty"]
        sizes, shares = zip(*self.top_n_grams, *self.dup_n_grams, strict=True) if len(reasons) > 5 else ((), ())
        limits = Limits(len(self.top_n_grams), np.array(sizes, dtype=np.int64), np.array(shares, dtype=float))
        verdicts.code[lengths == 0] = len(reasons) - 1
        judge_repetition(texts, limits, verdicts)
        return judgements(texts, verdicts, reasons, [*map(limit_of, knobs), *shares, 0.0])

    def _judge_lines(
        self, lines: Lines, lengths: np.ndarray, knobs: tuple[float | None, ...], code: int, verdicts: Verdicts
    ) -> None:
        found = repeated(lines)
        parts = (found.counts / np.diff(lines.texts), found.characters / np.maximum(lengths, 1))
        for place, (share, knob) in enumerate(zip(parts, knobs, strict=False)):
            if code + place == 0:
                verdicts.found[:] = share
            failed = (verdicts.code < 0) & (share > limit_of(knob))
            verdicts.code[failed], verdicts.found[failed] = code + place, share[failed]
            verdicts.begin[failed] = lines.begin[found.first[failed]]
            verdicts.end[failed] = lines.end[found.first[failed]]
