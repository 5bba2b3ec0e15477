"""How much of a text its most frequent n-gram makes, and how much repeated n-grams make; compiled."""

from typing import Any, NamedTuple

import numpy as np

from steps.core.compiled import compiled, inlined
from steps.core.cutter import HASH_BASE
from steps.core.texts import Texts
from steps.core.words import Words
from steps.methods.quality._shared import Verdicts

Array = np.ndarray
MAX_POWER = 1 << 12


class Limits(NamedTuple):
    """The n-grams that are looked at, and the largest share of the characters that they may make."""

    num_top: int  # so many are looked at for the most frequent one, the rest for repeats
    sizes: Array  # int64: words
    shares: Array  # float64


class _Scratch(NamedTuple):
    """A hash table that is never emptied (an entry counts only if its stamp is the present one), and a text's words."""

    keys: Array
    stamps: Array
    counts: Array
    firsts: Array
    slots: Array  # of the n-gram that begins at word k
    often: Array  # whether it occurs more than once: only then can a longer one that begins there
    hashes: Array  # of the first k words, a space behind each
    ends: Array  # characters of the first k words
    powers: Array


def judge_repetition(texts: Texts, limits: Limits, verdicts: Verdicts) -> None:
    """Note in the verdicts of texts that have failed nothing yet which n-gram fails first.

    Codes: 4 + place in `limits.sizes`.
    """
    longest = int(np.diff(texts.words.texts).max(initial=0))
    size = 1 << (2 * longest).bit_length()
    powers = np.cumprod(np.concatenate([[np.uint64(1)], np.full(MAX_POWER - 1, HASH_BASE)]), dtype=np.uint64)
    table = [np.zeros(size, dtype=kind) for kind in (np.uint64, np.int64, np.int64, np.int64)]
    of_word = [np.zeros(longest + 1, dtype=kind) for kind in (np.int64, np.bool_, np.uint64, np.int64)]
    _judge(texts.words, texts.offsets, limits, verdicts, _Scratch._make([*table, *of_word, powers]))


@inlined
def _power(powers: Array, exponent: int) -> Any:
    """The base of the hashes ** exponent."""
    found = np.uint64(1)
    while exponent >= len(powers):
        found *= powers[len(powers) - 1]
        exponent -= len(powers) - 1
    return found * powers[exponent]


@inlined
def _count(table: _Scratch, mask: int, num: int, size: int, stamp: int) -> tuple[int, int]:
    """Count the n-grams; first place and count of the most frequent one, of equals of the one that comes first."""
    best_count, best_first = 1, 0
    for k in range(num - size + 1):
        if not table.often[k]:
            continue
        power = _power(table.powers, table.ends[k + size] - table.ends[k] + size)
        key = table.hashes[k + size] - table.hashes[k] * power
        slot = np.int64((key * np.uint64(0xD6E8FEB86659FD93)) >> np.uint64(32)) & mask
        while table.stamps[slot] == stamp and table.keys[slot] != key:
            slot = (slot + 1) & mask
        if table.stamps[slot] != stamp:
            table.stamps[slot], table.keys[slot], table.counts[slot], table.firsts[slot] = stamp, key, 0, k
        table.slots[k] = slot
        table.counts[slot] += 1
        count, first = table.counts[slot], table.firsts[slot]
        if count > best_count or (count == best_count and count > 1 and first < best_first):
            best_count, best_first = count, first
    for k in range(num):
        table.often[k] = k <= num - size and table.often[k] and table.counts[table.slots[k]] > 1
    return best_first, best_count


@inlined
def _repeats(table: _Scratch, num: int, size: int) -> tuple[int, int]:
    """N-grams that were there before, none over another: the first place of one, and the characters of all."""
    characters, place, k = 0, -1, 0
    while k < num - size + 1:
        if table.often[k] and table.firsts[table.slots[k]] < 0:
            characters += table.ends[k + size] - table.ends[k]
            place = k if place < 0 else place
            k += size
        else:
            if table.often[k]:
                table.firsts[table.slots[k]] = -1  # seen
            k += 1
    return place, characters


@compiled
def _judge(words: Words, offsets: Array, limits: Limits, verdicts: Verdicts, table: _Scratch) -> None:
    stamp = 0
    for text in range(len(offsets) - 1):
        first, num = words.texts[text], words.texts[text + 1] - words.texts[text]
        if verdicts.code[text] >= 0 or num == 0:
            continue
        mask = 1
        while mask < 2 * num:
            mask *= 2
        mask -= 1
        for k in range(num):
            length = words.end[first + k] - words.begin[first + k]
            table.ends[k + 1] = table.ends[k] + length
            joined = table.hashes[k] * _power(table.powers, length) + words.hashes[first + k]
            table.hashes[k + 1] = joined * table.powers[1] + np.uint64(33)  # a space
        num_characters, counted = offsets[text + 1] - offsets[text], 0
        for rule in range(len(limits.sizes)):
            size, stamp = limits.sizes[rule], stamp + 1
            for k in range(num if size < counted or rule == 0 else 0):
                table.often[k] = True
            counted = size
            if size > num:
                continue
            place, count = _count(table, mask, num, size, stamp)
            characters = (table.ends[place + size] - table.ends[place] + size - 1) * count
            if rule >= limits.num_top:
                place, characters = _repeats(table, num, size)
            if characters / num_characters > limits.shares[rule]:
                verdicts.code[text], verdicts.found[text] = 4 + rule, characters / num_characters
                verdicts.begin[text], verdicts.end[text] = (
                    words.begin[first + place],
                    words.end[first + place + size - 1],
                )
                break
