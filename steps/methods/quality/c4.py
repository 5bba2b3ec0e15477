"""Drop lines that are no prose, and documents of which too little is left."""

from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from steps.core.c4_lines import Rules, edit, sentences
from steps.core.method import Cite
from steps.core.texts import Texts
from steps.methods.quality import Judgement, Quality

REASONS = ["lorem_ipsum", "curly_bracket"]
POLICIES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)


class C4(Quality):
    """C4's rules of quality, line by line, as datatrove applies them; the text is left with the lines that are kept.

    Rule:       a line is stripped; it is left out when it has a word > max_word_length characters, and then, without
                its citations (`[3]`, `[edit]`, `[citation needed]`), when it does not end in one of . ? ! " ' or ends
                in `...` (filter_no_terminal_punct), has < min_words_per_line words (counted with citations), names
                javascript, or a policy. A document goes at its first line with `lorem ipsum` or `{`, and when the
                lines that are kept have < min_num_sentences sentences (`too_few_sentences`)
    Units:      lengths in code points; words of a line are parted by white space; sentences are those of spaCy's
                sentencizer; -1 switches a number off
    Differs:    always by line (datatrove's split_paragraph); FineWeb sets filter_no_terminal_punct to false
    Reduces to: strip each line, at -1 and false everywhere (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
        id="arXiv:1910.10683",
        where="section 2.2; datatrove's C4QualityFilter",
        checked="code",
    )

    remove_citations: bool = Field(True, description="whether citations are taken out of lines")
    filter_no_terminal_punct: bool = Field(True, description="whether lines must end in punctuation")
    min_num_sentences: int = Field(5, ge=-1, description="shortest document that is left, sentences")
    min_words_per_line: int = Field(3, ge=-1, description="shortest line, words")
    max_word_length: int = Field(1000, ge=-1, description="longest word of a line, characters")
    filter_lorem_ipsum: bool = Field(True, description="whether `lorem ipsum` drops the document")
    filter_javascript: bool = Field(True, description="whether `javascript` drops the line")
    filter_curly_bracket: bool = Field(True, description="whether `{` drops the document")
    filter_policy: bool = Field(True, description="whether a phrase of policies drops the line")

    def judge(self, texts: Texts, folder: Path) -> list[Judgement]:
        """One judgement for each text; `found` is the number of sentences, `span` the line that drops the document."""
        rules = Rules(
            self.remove_citations,
            self.filter_no_terminal_punct,
            self.min_words_per_line,
            self.max_word_length,
            self.filter_lorem_ipsum,
            self.filter_javascript,
            self.filter_curly_bracket,
            self.filter_policy,
        )
        edited = edit(texts, rules, POLICIES)
        counted = self.min_num_sentences != -1
        num_sentences = sentences(texts, edited) if counted else np.zeros(len(texts), dtype=np.int64)
        found = []
        for row, (code, num) in enumerate(zip(edited.code.tolist(), num_sentences.tolist(), strict=True)):
            if code >= 0:
                begin, end = (int(place - texts.offsets[row]) for place in edited.span[row])
                found.append(Judgement(REASONS[code], 1, 0, (begin, end)))
            elif num < self.min_num_sentences:
                found.append(Judgement("too_few_sentences", num, self.min_num_sentences))
            else:
                first, last = edited.texts[row], edited.texts[row + 1]
                kept = edited.codes[edited.begin[first] : edited.end[last - 1]] if last > first else edited.codes[:0]
                text = kept.tobytes().decode("utf-32-le", "surrogatepass").strip()
                unchanged = text == texts.texts[row]
                found.append(Judgement("", num, self.min_num_sentences, None, None if unchanged else text))
        return found
