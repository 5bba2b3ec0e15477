"""Drop documents that are lists, menus or repeats."""

from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from steps.core.cutter import TERMINAL
from steps.core.method import Cite
from steps.core.texts import Texts
from steps.core.tokens import character_classes
from steps.methods.quality import Judgement, Quality
from steps.methods.quality._shared import Verdicts, judgements, lines_of, repeated

REASONS = ["line_punct_ratio", "short_line_ratio", "char_dup_ratio", "list_ratio", "empty"]


class Fineweb(Quality):
    """FineWeb's own rules, as datatrove applies them; the first that fails gives the reason.

    Rule:       blank lines are left out; none left: `empty`. Drop when, in this order: lines that end in a stop
                character / lines < line_punct_thr; lines of at most short_line_length characters / lines >
                short_line_thr; characters of repeated lines / characters that are no line feed >
                char_duplicates_ratio; line feeds / words > new_line_ratio
    Units:      characters are code points; words are spaCy's; a line ends at a line feed
    Differs:    from the paper, which has 0.1 for char_duplicates_ratio; datatrove's code and ours have 0.01. Lines are
                compared by 64-bit hashes
    Reduces to: drop blank texts only at (0, inf, inf, inf) (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="The FineWeb Datasets: Decanting the Web for the Finest Text Data at Scale",
        id="arXiv:2406.17557",
        where="section 3.6; datatrove's FineWebQualityFilter",
        checked="code",
    )

    line_punct_thr: float = Field(0.12, ge=0, description="lines that end in a stop character, least share of 1")
    line_punct_exclude_zero: bool = Field(False, description="whether texts without any such line pass")
    stop_chars: str | None = Field(None, description="stop characters; none: those of every script")
    short_line_thr: float = Field(0.67, ge=0, description="short lines, largest share of 1")
    short_line_length: int = Field(30, ge=0, description="longest short line, characters")
    char_duplicates_ratio: float = Field(0.01, ge=0, description="characters of repeated lines, largest share of 1")
    new_line_ratio: float = Field(0.3, ge=0, description="line feeds for each word, at most")

    def judge(self, texts: Texts, folder: Path) -> list[Judgement]:
        """One judgement for each text; `span` is the first line that offends, where one line does."""
        lines, codes = lines_of(texts, blank=False), texts.codes
        num_lines = np.diff(lines.texts)
        short = lines.end - lines.begin <= self.short_line_length
        feeds = _per_text(codes == 10, texts.offsets)
        again = repeated(lines)
        with np.errstate(divide="ignore", invalid="ignore"):  # a blank text, which is judged by itself
            stopped = _per_text(self._is_stop(codes[lines.end - 1]), lines.texts) / num_lines
            found = np.stack(
                [
                    stopped,
                    _per_text(short, lines.texts) / num_lines,
                    again.characters / (np.diff(texts.offsets) - feeds),
                    feeds / np.diff(texts.words.texts),
                ],
                axis=1,
            )
        limits = [self.line_punct_thr, self.short_line_thr, self.char_duplicates_ratio, self.new_line_ratio, 0.0]
        failed = found > limits[:4]
        failed[:, 0] = (stopped < self.line_punct_thr) & ~((stopped == 0) & self.line_punct_exclude_zero)
        code = np.where(failed.any(axis=1), failed.argmax(axis=1), -1)
        code[num_lines == 0] = len(REASONS) - 1
        rows = np.arange(len(texts))
        verdicts = Verdicts.fit(len(texts))._replace(code=code, found=found[rows, np.clip(code, 0, 3)])
        verdicts.found[num_lines == 0] = 0.0
        shorts = np.flatnonzero(short)
        first_short = np.append(shorts, -1)[np.searchsorted(shorts, lines.texts[:-1])]
        lines_at = np.select([code == 0, code == 1, code == 2], [lines.texts[:-1], first_short, again.first], -1)
        has = lines_at >= 0
        verdicts.begin[has], verdicts.end[has] = lines.begin[lines_at[has]], lines.end[lines_at[has]]
        return judgements(texts, verdicts, REASONS, limits)

    def _is_stop(self, last: np.ndarray) -> np.ndarray:
        if self.stop_chars is None:
            return np.asarray(character_classes()[last] & np.uint32(TERMINAL) != 0)
        return np.isin(last, [ord(character) for character in self.stop_chars])


def _per_text(marks: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """How many marks there are in each text."""
    total = np.concatenate([[0], np.cumsum(marks)])
    return np.asarray(total[bounds[1:]] - total[bounds[:-1]])
