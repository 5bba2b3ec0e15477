"""What was dropped, and why, in lines that a person can read; private data is masked in them."""

from collections.abc import Mapping, Sequence
from typing import Any

from steps.core.documents import row_of
from steps.curation.chain import Chain, Fate
from steps.methods.privacy import Found, default

EXCERPT_CHARACTERS = 160


def dropped_row(row: Mapping[str, Any], reason: str, of: str | None = None) -> dict[str, Any]:
    """A line of `dropped.jsonl`."""
    named = {name: row[name] for name in ("key", "content_hash", "batch")}
    return {**named, "reason": reason, "of": of}


def explained(chain: Chain, fates: Sequence[Fate]) -> list[dict[str, Any]]:
    """Lines of `dropped.jsonl` for what rules dropped, each with what was found and where; private data is masked."""
    guards = chain.privacy or (default(),)
    shown = [_window(fate) for fate in fates]
    found = [[match for guard in guards for match in guard.find([text])[0]] for text, _, _ in shown]
    rows = []
    for fate, (text, begin, end), matches in zip(fates, shown, found, strict=True):
        row = dropped_row(row_of(fate.document), fate.judgement.reason)
        row |= {"rule": fate.rule, "found": fate.judgement.found, "limit": fate.judgement.limit}
        pieces = [(0, begin), (begin, end), (end, len(text))]
        before, part, after = (_masked(text, matches, *piece) for piece in pieces)
        row["excerpt"] = [before[-EXCERPT_CHARACTERS:], part[:EXCERPT_CHARACTERS], after[:EXCERPT_CHARACTERS]]
        rows.append(row)
    return rows


def _window(fate: Fate) -> tuple[str, int, int]:
    """The text around the offending part, and where that lies in it; without one, the beginning."""
    text, span = fate.document.text, fate.judgement.span
    begin, end = span or (0, 0)
    end = min(end, begin + EXCERPT_CHARACTERS)
    start = max(0, begin - 2 * EXCERPT_CHARACTERS)
    return text[start : end + 2 * EXCERPT_CHARACTERS], begin - start, end - start


def _masked(text: str, matches: Sequence[Found], begin: int, end: int) -> str:
    """A piece of a text; a match that it touches is masked whole, in the piece where the match begins."""
    parts, at = [], begin
    for match in sorted(matches, key=lambda match: match.begin):
        if match.end > at and match.begin < end:
            parts.append(text[at : max(at, match.begin)])
            parts.append(f"[{match.kind}]" if match.begin >= begin else "")
            at = min(end, max(at, match.end))
    return "".join([*parts, text[at:end]])
