"""What Gopher's quality rules count in a text; compiled."""

from typing import Any, NamedTuple

import numpy as np

from steps.core.compiled import compiled, inlined
from steps.core.cutter import HAS_ALPHABETIC, IS_SYMBOL, LINE_END, SPACE
from steps.core.texts import Texts
from steps.core.tokens import character_classes, hash_of
from steps.core.words import Words
from steps.methods.quality._shared import Verdicts

Array = np.ndarray
NUM_RULES = 10


class _Bits(NamedTuple):
    """The bits that the compiled code looks at."""

    space: Any
    line_end: Any
    symbol: Any
    alphabetic: Any


class _Counts(NamedTuple):
    """What is counted in N texts, and where the first of it is; int64 [N], `at` [N, NUM_RULES, 2], -1: nowhere."""

    plain: Array  # words that are not only of symbols
    plain_characters: Array
    hashes: Array
    ellipses: Array
    lines: Array
    bullets: Array
    ellipsis_ends: Array
    alphabetic: Array
    stop_words: Array
    at: Array


def judge_gopher(texts: Texts, stop_words: tuple[str, ...], limits: list[float]) -> Verdicts:
    """The verdicts; limits in the order of the rules: shortest, longest, least and largest mean length, and so on."""
    num = len(texts)
    columns = [np.zeros(num, dtype=np.int64) for _ in range(9)]
    counts = _Counts._make([*columns, np.full((num, NUM_RULES, 2), -1, dtype=np.int64)])
    bits = _Bits(np.uint32(SPACE), np.uint32(LINE_END), np.uint8(IS_SYMBOL), np.uint8(HAS_ALPHABETIC))
    stop_keys = np.array([hash_of(word) for word in dict.fromkeys(stop_words)], dtype=np.uint64)
    _count_words(texts.words, stop_keys, np.full(len(stop_keys), -1, dtype=np.int64), bits, counts)
    _count_lines(texts.codes, texts.offsets, character_classes(), bits, counts)
    num_words = np.diff(texts.words.texts)
    with np.errstate(divide="ignore", invalid="ignore"):  # 0/0 breaks no limit, as in the source
        length = counts.plain_characters / counts.plain
        found = np.stack(
            [
                counts.plain,
                counts.plain,
                length,
                length,
                counts.hashes / num_words,
                counts.ellipses / num_words,
                counts.bullets / counts.lines,
                counts.ellipsis_ends / counts.lines,
                counts.alphabetic / num_words,
                counts.stop_words,
            ],
            axis=1,
        )
    least = np.array([True, False, True, False, False, False, False, False, True, True])
    failed = np.where(least, found < limits, found > limits)
    failed[num_words == 0, 0] = True
    code = np.where(failed.any(axis=1), failed.argmax(axis=1), -1)
    rows, place = np.arange(num), np.maximum(code, 0)
    return Verdicts(code, found[rows, place], counts.at[rows, place, 0], counts.at[rows, place, 1])


@compiled
def _count_words(words: Words, stop_keys: Array, seen: Array, bits: _Bits, counts: _Counts) -> None:
    for text in range(len(words.texts) - 1):
        longest, at = 0, counts.at[text]
        for word in range(words.texts[text], words.texts[text + 1]):
            length = words.end[word] - words.begin[word]
            if not words.flags[word] & bits.symbol:
                counts.plain[text] += 1
                counts.plain_characters[text] += length
                if length > longest:
                    longest = length
                    at[3, 0], at[3, 1] = words.begin[word], words.end[word]
            if words.flags[word] & bits.alphabetic:
                counts.alphabetic[text] += 1
            elif at[8, 0] < 0:
                at[8, 0], at[8, 1] = words.begin[word], words.end[word]
            for k in range(len(stop_keys)):
                if words.hashes[word] == stop_keys[k] and seen[k] != text:
                    seen[k] = text
                    counts.stop_words[text] += 1


@inlined
def _note(at: Array, rule: int, begin: int, end: int) -> None:
    if at[rule, 0] < 0:
        at[rule, 0], at[rule, 1] = begin, end


@compiled
def _count_lines(codes: Array, offsets: Array, classes: Array, bits: _Bits, counts: _Counts) -> None:
    for text in range(len(offsets) - 1):
        lo, stop, at, dots = offsets[text], offsets[text + 1], counts.at[text], 0
        while lo < stop:
            first, last, i = -1, -1, lo
            while i < stop:
                code = codes[i]
                bit = classes[code]
                if bit & bits.line_end:
                    break
                if not bit & bits.space:
                    first = i if first < 0 else first
                    last = i
                dots = dots + 1 if code == 46 else 0
                if code == 35:
                    counts.hashes[text] += 1
                    _note(at, 4, i, i + 1)
                elif code == 0x2026 or dots == 3:
                    counts.ellipses[text] += 1
                    _note(at, 5, i + 1 - max(dots, 1), i + 1)
                    dots = 0
                i += 1
            dots = 0
            counts.lines[text] += 1
            if first >= 0 and (codes[first] == 0x2022 or codes[first] == 45):
                counts.bullets[text] += 1
                _note(at, 6, first, last + 1)
            three = last - first >= 2 and codes[last] == 46 and codes[last - 1] == 46 and codes[last - 2] == 46
            if last >= 0 and (three or codes[last] == 0x2026):
                counts.ellipsis_ends[text] += 1
                _note(at, 7, first, last + 1)
            lo = i + 2 if i + 1 < stop and codes[i] == 13 and codes[i + 1] == 10 else i + 1
