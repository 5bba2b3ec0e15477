"""How much of a text its most frequent n-gram makes, and how much repeated n-grams make; compiled."""

from typing import Any, NamedTuple

import numpy as np

from steps.core.compiled import compiled
from steps.core.cutter import HASH_BASE
from steps.core.texts import Texts
from steps.core.words import Words
from steps.methods.quality._shared import Verdicts

Array = np.ndarray
MAX_POWER = 1 << 12


class Limits(NamedTuple):
    """The n-grams that are looked at, and the largest share of the characters that they may make."""

    top_sizes: Array  # int64: words
    top_shares: Array  # float64
    dup_sizes: Array
    dup_shares: Array


class _Scratch(NamedTuple):
    """A hash table that is never emptied: an entry counts only if its stamp is the present one."""

    keys: Array
    stamps: Array
    counts: Array
    firsts: Array
    spaced: Array  # hashes of the first k words of a text, a space behind each
    joined: Array  # the same without spaces
    ends: Array  # characters of the first k words
    powers: Array


def judge_repetition(texts: Texts, limits: Limits, verdicts: Verdicts) -> None:
    """Note in the verdicts of texts that have failed nothing yet which n-gram fails first.

    Codes: 4 + place in `top_sizes`, then on through `dup_sizes`.
    """
    longest = int(np.diff(texts.words.texts).max(initial=0))
    size = 1 << (2 * longest).bit_length()
    powers = np.cumprod(np.concatenate([[np.uint64(1)], np.full(MAX_POWER - 1, HASH_BASE)]), dtype=np.uint64)
    columns = [np.zeros(size, dtype=kind) for kind in (np.uint64, np.int64, np.int64, np.int64)]
    prefixes = [np.zeros(longest + 1, dtype=kind) for kind in (np.uint64, np.uint64, np.int64)]
    _judge(texts.words, texts.offsets, limits, verdicts, _Scratch._make([*columns, *prefixes, powers]))


@compiled
def _power(powers: Array, exponent: int) -> Any:
    """HASH_BASE ** exponent."""
    found = np.uint64(1)
    while exponent >= len(powers):
        found *= powers[len(powers) - 1]
        exponent -= len(powers) - 1
    return found * powers[exponent]


@compiled
def _slot(table: _Scratch, mask: int, key: Any, stamp: int) -> int:
    """Where a key is in the table, or goes."""
    slot = np.int64((key * np.uint64(0xD6E8FEB86659FD93)) >> np.uint64(32)) & mask
    while table.stamps[slot] == stamp and table.keys[slot] != key:
        slot = (slot + 1) & mask
    return int(slot)


@compiled
def _top(table: _Scratch, mask: int, num: int, size: int, stamp: int) -> tuple[int, int]:
    """The most frequent n-gram, of equals the one that comes first: its first place, and the characters of all."""
    best_count, best_first = 0, 0
    for k in range(num - size + 1):
        length = table.ends[k + size] - table.ends[k]
        key = table.spaced[k + size] - table.spaced[k] * _power(table.powers, length + size)
        slot = _slot(table, mask, key, stamp)
        if table.stamps[slot] != stamp:
            table.stamps[slot], table.keys[slot], table.counts[slot], table.firsts[slot] = stamp, key, 0, k
        table.counts[slot] += 1
        count, first = table.counts[slot], table.firsts[slot]
        if count > best_count or (count == best_count and first < best_first):
            best_count, best_first = count, first
    length = table.ends[best_first + size] - table.ends[best_first] + size - 1
    return best_first, length * best_count


@compiled
def _repeats(table: _Scratch, mask: int, num: int, size: int, stamp: int) -> tuple[int, int]:
    """N-grams that were there before, none over another: the first place of one, and the characters of all."""
    characters, place, k = 0, -1, 0
    while k < num - size + 1:
        length = table.ends[k + size] - table.ends[k]
        key = table.joined[k + size] - table.joined[k] * _power(table.powers, length)
        slot = _slot(table, mask, key, stamp)
        if table.stamps[slot] == stamp:
            characters += length
            place = k if place < 0 else place
            k += size
        else:
            table.stamps[slot], table.keys[slot] = stamp, key
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
            power = _power(table.powers, length)
            table.ends[k + 1] = table.ends[k] + length
            table.joined[k + 1] = table.joined[k] * power + words.hashes[first + k]
            spaced = table.spaced[k] * power + words.hashes[first + k]
            table.spaced[k + 1] = spaced * HASH_BASE + np.uint64(33)  # a space
        num_characters = offsets[text + 1] - offsets[text]
        for rule in range(len(limits.top_sizes) + len(limits.dup_sizes)):
            stamp += 1
            if rule < len(limits.top_sizes):
                size, most = limits.top_sizes[rule], limits.top_shares[rule]
                if size > num:
                    continue
                place, characters = _top(table, mask, num, size, stamp)
            else:
                size = limits.dup_sizes[rule - len(limits.top_sizes)]
                most = limits.dup_shares[rule - len(limits.top_sizes)]
                place, characters = _repeats(table, mask, num, size, stamp)
            if characters / num_characters > most:
                verdicts.code[text], verdicts.found[text] = 4 + rule, characters / num_characters
                verdicts.begin[text], verdicts.end[text] = (
                    words.begin[first + place],
                    words.end[first + place + size - 1],
                )
                break
