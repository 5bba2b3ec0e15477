"""The lines of a web page that C4 keeps, what it takes out of them, and how many sentences they have; compiled."""

from typing import Any, NamedTuple

import numpy as np

from steps.core.compiled import compiled, inlined
from steps.core.cutter import DECIMAL, IS_PUNCTUATION, IS_SENTENCE_END, LINE_END, SPACE
from steps.core.texts import Texts
from steps.core.tokens import character_classes, code_points, read_only, tokenise
from steps.core.words import Words

Array = np.ndarray
LOREM, SCRIPT, BRACKET = 1, 2, 4  # bits of the phrases that are no policy's; those are above
LOREM_IPSUM, CURLY_BRACKET = 0, 1  # codes of what drops a document


class Rules(NamedTuple):
    """The knobs, as compiled code takes them."""

    citations: bool
    terminal: bool
    min_words: int
    max_word_length: int
    lorem: bool
    script: bool
    bracket: bool
    policy: bool


class _Known(NamedTuple):
    """What the compiled code reads."""

    codes: Array  # the texts
    classes: Array
    space: Any  # bits of classes
    line_end: Any
    decimal: Any
    citations: bool
    wanted: Array  # phrases, one after the other, and where they start
    starts: Array
    first: Array  # int64 [128]: the phrases that start with a character of ASCII, as bits
    marks: Array  # citations that are words, and where they start
    mark_starts: Array


class Edited(NamedTuple):
    """N texts as their lines are kept, L lines in all, each with a line feed behind it."""

    codes: Array  # uint32
    texts: Array  # int64 [N + 1]: text i has the lines [texts[i], texts[i + 1])
    begin: Array  # int64 [L]: in `codes`
    end: Array  # int64 [L]
    source: Array  # int64 [L]: where the line begins in the texts as they came
    cited: Array  # bool [L]: whether a citation was taken out
    code: Array  # int64 [N]: LOREM_IPSUM, CURLY_BRACKET or -1: neither
    span: Array  # int64 [N, 2]: the line for which, in the texts as they came


def edit(texts: Texts, rules: Rules, policies: tuple[str, ...]) -> Edited:
    """Keep the lines that the rules keep; `policies` are ASCII in lower case."""
    num, most = len(texts), len(texts.codes) + len(texts)
    lines = [np.empty(most, dtype=kind) for kind in (np.int64, np.int64, np.int64, np.bool_)]
    code, span = np.full(num, -1, dtype=np.int64), np.full((num, 2), -1, dtype=np.int64)
    edited = Edited._make([np.empty(most, dtype=np.uint32), np.zeros(num + 1, dtype=np.int64), *lines, code, span])
    wanted, starts = code_points(("lorem ipsum", "javascript", "{", *policies))
    first = np.zeros(128, dtype=np.int64)
    np.bitwise_or.at(first, wanted[starts[:-1]], 1 << np.arange(len(starts) - 1))
    first[65:91] = first[97:123]
    bits = (np.uint32(SPACE), np.uint32(LINE_END), np.uint32(DECIMAL), rules.citations)
    marks = code_points(("[edit]", "[citation needed]"))
    _edit(_Known(texts.codes, character_classes(), *bits, wanted, starts, first, *marks), texts.offsets, rules, edited)
    count = edited.texts[-1]
    return edited._replace(
        begin=edited.begin[:count], end=edited.end[:count], source=edited.source[:count], cited=edited.cited[:count]
    )


def sentences(texts: Texts, edited: Edited) -> Array:
    """How many sentences each text has in the lines that are kept, as spaCy's sentencizer counts them; int64 [N]."""
    of_line = np.zeros(len(edited.begin), dtype=np.int64)
    bits = (np.uint8(IS_SENTENCE_END), np.uint8(IS_PUNCTUATION))
    whole = np.flatnonzero(~edited.cited)
    lengths = (edited.end - edited.begin)[whole]
    first = np.searchsorted(texts.words.begin, edited.source[whole])
    _count(texts.codes, edited.source[whole], lengths, texts.words, first, bits, of_line, whole)
    changed = np.flatnonzero(edited.cited)
    if len(changed):
        lengths = (edited.end - edited.begin)[changed]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        parts = [edited.codes[edited.begin[line] : edited.end[line]] for line in changed]
        codes = read_only(np.concatenate(parts))
        words = tokenise(codes, offsets)
        _count(codes, offsets[:-1], lengths, words, words.texts[:-1], bits, of_line, changed)
    total: Array = np.concatenate([[0], np.cumsum(of_line)])
    return np.asarray(total[edited.texts[1:]] - total[edited.texts[:-1]])


@inlined
def _lower(code: Any) -> Any:
    """ASCII in lower case; of the rest only the Kelvin sign becomes a letter of ASCII."""
    if 65 <= code <= 90:
        return code + np.uint32(32)
    return np.uint32(107) if code == 0x212A else code


@inlined
def _stands(known: _Known, codes: Array, i: int, hi: int, phrase: int) -> bool:
    """Whether a phrase stands at i, in any case."""
    lo, stop = known.starts[phrase], known.starts[phrase + 1]
    if i + stop - lo > hi:
        return False
    k = lo
    while k < stop and _lower(codes[i + k - lo]) == known.wanted[k]:
        k += 1
    return bool(k == stop)


@inlined
def _citation(known: _Known, i: int, hi: int) -> int:
    """Length of the citation that stands at a bracket; 0: none."""
    k = i + 1
    while k < hi and known.classes[known.codes[k]] & known.decimal:
        k += 1
    if k < hi and known.codes[k] == 93:
        return k + 1 - i
    for mark in range(len(known.mark_starts) - 1):
        lo, stop = known.mark_starts[mark], known.mark_starts[mark + 1]
        k = lo
        while k < stop and i + k - lo < hi and known.codes[i + k - lo] == known.marks[k]:
            k += 1
        if k == stop:
            return int(stop - lo)
    return 0


@inlined
def _walk(known: _Known, lo: int, hi: int, out: Array, to: int) -> tuple[int, int, int, bool]:
    """Copy a line without its citations; words, longest word, where the copy ends, whether there was a citation."""
    words, length, longest, end, skip = 0, 0, 0, to, lo
    for i in range(lo, hi):
        code = known.codes[i]
        length = 0 if known.classes[code] & known.space else length + 1
        words += length == 1
        longest = max(longest, length)
        if i < skip:
            continue
        if code == 91 and known.citations:
            skip = i + _citation(known, i, hi)
        if i >= skip:
            out[end] = code
            end += 1
    return words, longest, end, end - to < hi - lo


@inlined
def _phrases(known: _Known, out: Array, lo: int, hi: int) -> int:
    """Which phrases stand in a line, as bits."""
    hits = 0
    for i in range(lo, hi):
        code = out[i] if out[i] < 128 else _lower(out[i])
        begun = known.first[code & 127]
        if not begun:
            continue
        for k in range(len(known.starts) - 1):
            if begun & (1 << k) and _stands(known, out, i, hi, k):
                hits |= 1 << k
    return hits


@inlined
def _ends_well(out: Array, lo: int, hi: int) -> bool:
    last = out[hi - 1] if hi > lo else np.uint32(0)
    if last == 46 and hi - lo > 2 and out[hi - 2] == 46 and out[hi - 3] == 46:
        return False
    return bool(last == 46 or last == 63 or last == 33 or last == 34 or last == 39)  # noqa: PLR1714 - numba has no sets


@compiled
def _edit(known: _Known, offsets: Array, rules: Rules, edited: Edited) -> None:  # noqa: PLR0912 - one branch a rule
    codes, out, num, to = known.codes, edited.codes, 0, 0
    for text in range(len(offsets) - 1):
        stop, following = offsets[text + 1], offsets[text]
        while following < stop and edited.code[text] < 0:
            lo = hi = following
            while hi < stop and not known.classes[codes[hi]] & known.line_end:
                hi += 1
            following = hi + 2 if hi + 1 < stop and codes[hi] == 13 and codes[hi + 1] == 10 else hi + 1
            while lo < hi and known.classes[codes[lo]] & known.space:
                lo += 1
            while lo < hi and known.classes[codes[hi - 1]] & known.space:
                hi -= 1
            words, longest, end, cited = _walk(known, lo, hi, out, to)
            if rules.max_word_length != -1 and longest > rules.max_word_length:
                continue
            if words < rules.min_words or (rules.terminal and not _ends_well(out, to, end)):
                continue
            hits = _phrases(known, out, to, end)
            if rules.lorem and hits & LOREM:
                edited.code[text] = LOREM_IPSUM
            elif rules.script and hits & SCRIPT:
                continue
            elif rules.bracket and hits & BRACKET:
                edited.code[text] = CURLY_BRACKET
            elif rules.policy and hits > (LOREM | SCRIPT | BRACKET):
                continue
            if edited.code[text] >= 0:
                edited.span[text, 0], edited.span[text, 1] = lo, hi
            else:
                out[end] = 10
                edited.begin[num], edited.end[num], edited.source[num], edited.cited[num] = to, end, lo, cited
                num, to = num + 1, end + 1
        edited.texts[text + 1] = num


@compiled
def _count(
    codes: Array, begin: Array, lengths: Array, words: Words, first: Array, bits: Any, of_line: Array, lines: Array
) -> None:
    """A sentence begins at a word that is no punctuation, after one that ends sentences; white space is a word here."""
    for k in range(len(lines)):
        word, at, end = first[k], begin[k], begin[k] + lengths[k]
        count, ended = 1, False
        while True:
            there = word < len(words.begin) and words.begin[word] < end
            following = words.begin[word] if there else end
            if ended and following > at and (following - at > 1 or codes[at] != 32):  # a single space is no word
                count, ended = count + 1, False
            if not there:
                break
            flags = words.flags[word]
            if ended and not flags & (bits[0] | bits[1]):
                count, ended = count + 1, False
            elif flags & bits[0]:
                ended = True
            at = words.end[word]
            word += 1
        of_line[lines[k]] = count
