"""Take out characters that nobody sees, and write the others in one way."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from steps.core.documents import Document
from steps.core.method import Cite
from steps.methods.repair import Repair, Repaired

Kind = Literal["line-ending", "control", "zero-width", "bidi", "soft-hyphen"]
EVERY: tuple[Kind, ...] = ("line-ending", "control", "zero-width", "bidi", "soft-hyphen")
PATTERNS: dict[Kind, tuple[str, str]] = {  # what is found, and what comes in its place
    "line-ending": ("\r\n?|[\v\f\x85\u2028\u2029]", "\n"),
    "control": (
        (
            "\x1b\\[[0-9;?]{0,32}[A-Za-z]|"  # a terminal's colours
            "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufff9-\ufffb\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
        ),
        "",
    ),
    # joiners shape Persian, Hindi and emoji; between ASCII letters they only hide
    "zero-width": ("[\u200b\u2060-\u2064\ufeff\u180e]|(?<![^\x00-\x7f])[\u200c\u200d](?![^\x00-\x7f])", ""),
    "bidi": ("[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]", ""),
    "soft-hyphen": ("\xad", ""),
}
COMPILED = {kind: (re.compile(pattern), by) for kind, (pattern, by) in PATTERNS.items()}
ANY = re.compile("|".join(pattern for pattern, _ in PATTERNS.values()))
IN_ASCII = bytes(byte for byte in range(128) if ANY.fullmatch(chr(byte)))


class Characters(Repair):
    """Line endings, control characters, invisible characters, and one Unicode form for what looks the same.

    Rule:       line endings become `\\n`; control characters (not tab and line feed), terminal sequences, zero-width
                characters, bidirectional controls and soft hyphens go; then the text is normalised. Never drops.
    Units:      `changes`: characters or sequences by kind; words of another form as `normalization`
    Differs:    joiners (U+200C, U+200D) stay beside what is not ASCII: Persian, Hindi and emoji are written with them.
                Goes after `mojibake`, whose evidence it would remove.
    Reduces to: the same text where it is ASCII without control characters (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="Unicode Standard Annex 15, normalization forms", id="ours", where="NFC", checked="recalled"
    )

    kinds: tuple[Kind, ...] = Field(EVERY, description="what is taken out or unified")
    normalization: Literal["NFC", "NFKC", "none"] = Field("NFC", description="Unicode form; NFKC also changes meaning")

    def repair(self, documents: Sequence[Document]) -> list[Repaired]:
        """One result for each document, in their order."""
        return [self._repaired(document.text) for document in documents]

    def _repaired(self, text: str) -> Repaired:
        if text.isascii():
            raw = text.encode()
            if len(raw.translate(None, IN_ASCII)) == len(raw):  # a quarter of the cost of one search
                return Repaired(text)
        changes: Counter[str] = Counter()
        if ANY.search(text):
            for kind in (kind for kind in EVERY if kind in self.kinds):
                pattern, by = COMPILED[kind]
                text, count = pattern.subn(by, text)
                changes[kind] += count
        if self.normalization != "none" and not unicodedata.is_normalized(self.normalization, text):
            words = text.split()
            changes["normalization"] = sum(not unicodedata.is_normalized(self.normalization, word) for word in words)
            text = unicodedata.normalize(self.normalization, text)
        return Repaired(text, changes={kind: count for kind, count in changes.items() if count})
