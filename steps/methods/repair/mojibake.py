"""Undo text that was decoded in the wrong encoding."""

import re
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from steps.core.documents import Document
from steps.core.method import Cite
from steps.methods.repair import Repair, Repaired

# A character of several bytes that was read byte by byte leaves two strangers side by side, or one and what was a
# no-break space; without either, and without C1 controls, ftfy changes nothing. The second alone proves nothing: `Ã`
# and a space may be a table of letters.
EVIDENCE = re.compile("[^\\x00-\\x7f]{2}|[\\x80-\\x9f]")
SUSPECT = re.compile("[^\\x00-\\x7f]{2}|[\\xc2-\\xdf] |[\\x80-\\x9f]")
ENTITY = re.compile(r"&#?\w{1,24};")
LOST = "\ufffd"


class Mojibake(Repair):
    """Mend mojibake with ftfy, line by line, and decode HTML entities that were left over; reason `lost-characters`.

    Rule:       a line becomes what its bytes say in UTF-8, if ftfy finds that it was read in another encoding and that
                the result is likelier; `Ã©` -> `é`. Entities are decoded in texts without `<`, which are not HTML.
    Units:      `changes`: lines mended, entities decoded
    Differs:    ftfy's other repairs are off: ligatures, quotes, widths, line breaks, normalisation. A letter before a
                space is taken for mojibake only where the text has other evidence. What was replaced
                by U+FFFD is lost; no repair brings it back, so a text may be dropped for its share of them.
    Reduces to: the same text where all is ASCII and no entity is left (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="ftfy: fixes text for you", id="rspeer/python-ftfy", where="fix_text, encoding only", checked="code"
    )

    entities: Literal["without-tags", "never"] = Field("without-tags", description="when HTML entities are decoded")
    max_lost_share: float = Field(1.0, ge=0, le=1, description="share of U+FFFD over which a text is dropped, 0..1")

    def repair(self, documents: Sequence[Document]) -> list[Repaired]:
        """One result for each document, in their order."""
        return [self._repaired(document.text) for document in documents]

    def _repaired(self, text: str) -> Repaired:
        changes = {}
        if self.entities == "without-tags" and "&" in text and "<" not in text:
            text, changes["entities"] = _decoded(text)
        if not text.isascii() and EVIDENCE.search(text):
            text, changes["mojibake"] = _mended(text)
        lost = text.count(LOST)
        reason = "lost-characters" if lost > self.max_lost_share * len(text) else ""
        return Repaired(text, reason, {kind: count for kind, count in changes.items() if count})


def _decoded(text: str) -> tuple[str, int]:
    from html import unescape

    count = 0

    def one(match: re.Match[str]) -> str:
        nonlocal count
        found = unescape(match[0])
        printable = found.isprintable() or found == "\xa0"
        if not found or not printable or found == LOST or found.endswith(";"):  # unknown, or a character nobody can see
            return match[0]
        count += 1
        return found

    return ENTITY.sub(one, text), count


def _mended(text: str) -> tuple[str, int]:
    from ftfy import TextFixerConfig, fix_text

    config = TextFixerConfig(  # what else ftfy can do is the business of `characters`, or changes what somebody wrote
        unescape_html=False,
        remove_terminal_escapes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        fix_surrogates=False,
        remove_control_chars=False,
        normalization=None,
        explain=False,
    )
    lines, count = text.split("\n"), 0
    for number, line in enumerate(lines):
        if SUSPECT.search(line):
            lines[number] = fix_text(line, config)
            count += lines[number] != line
    return "\n".join(lines), count
