"""Runs of words that items and documents share, compiled.

Texts come as hashes of their words, uint64 [W], those of text i at `starts[i]:starts[i + 1]`. A gram is the hash of a
run of words and of its length, 64 bits, the same on every machine; a whole is the hash of all words of a text.
"""

import functools
from collections.abc import Mapping

import numpy as np

from steps.core.compiled import allocating, compiled
from steps.core.texts import Texts
from steps.core.tokens import NUM_ASSIGNED

NOT_ONE_TO_ONE = "Σİ"  # lower-cased by Python: what they become depends on their place, or is two characters
_BASE, _WORDS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1342543DE82EF95)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_WHOLE = np.uint64(1 << 32)  # added to the length of a whole


@functools.cache
def lower_letters() -> np.ndarray:
    """What a character of a word is in lower case, uint32 [1114112]; 0: it belongs to no word (`\\w`)."""
    found = np.zeros(0x110000, dtype=np.uint32)
    for code in range(NUM_ASSIGNED):
        letter = chr(code).lower()
        if letter[0].isalnum() or letter == "_":
            found[code] = ord(letter[0])
    return found


def plain_words(texts: Texts) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of the lower-cased words (`\\w+`) of texts, and where those of each text start, int64 [N + 1]."""
    odd = [any(letter in text for letter in NOT_ONE_TO_ONE) for text in texts.texts]
    if any(odd):
        texts = Texts([text.lower() if it else text for it, text in zip(odd, texts.texts, strict=True)])
    codes, offsets = texts.codes, texts.offsets
    hashes, starts = np.empty(len(codes) // 2 + len(texts) + 1, dtype=np.uint64), np.zeros_like(offsets)
    _hash_words(codes, offsets, lower_letters(), hashes, starts)
    return hashes[: starts[-1]], starts


def grams_of_items(
    hashes: np.ndarray, starts: np.ndarray, size: int, least: int, *, whole: bool
) -> dict[str, np.ndarray]:
    """The grams of items in arrays; gram g belongs to `items[item_starts[g]:item_starts[g + 1]]`.

    An item of fewer than `size` words is one gram of all its words, of fewer than `least` none; with `whole` each item
    has its whole, too. `sizes` counts the grams of each item, int64 [I].
    """
    counts = np.diff(starts)
    lengths = np.where(counts < least, 0, np.minimum(counts, size))
    found, owners, kinds = _item_grams(hashes, starts, lengths, whole)
    values, gram = np.unique(found, return_inverse=True)
    pairs = np.unique(np.stack([gram, owners]), axis=1)
    slots = np.zeros(1 << max(4, (2 * len(values)).bit_length()), dtype=np.uint64)
    bits = np.zeros(max(1, len(slots) // 4), dtype=np.uint64)  # 16 bits or more for each slot
    rows = np.zeros(len(slots), dtype=np.int32)
    _fill(values, slots, rows, bits)
    is_whole = np.zeros(len(values), dtype=bool)
    is_whole[gram] = kinds
    item_starts = np.concatenate([[0], np.cumsum(np.bincount(pairs[0], minlength=len(values)))]).astype(np.int64)
    return {
        "lengths": np.unique(lengths[lengths > 0]).astype(np.int64),
        "slots": slots,
        "rows": rows,
        "bits": bits,
        "is_whole": is_whole,
        "item_starts": item_starts,
        "items": pairs[1].astype(np.int32),
        "sizes": np.bincount(pairs[1][~is_whole[pairs[0]]], minlength=len(counts)).astype(np.int64),
        "num_words": counts.astype(np.int64),
    }


def grams_held(
    hashes: np.ndarray, starts: np.ndarray, grams: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The grams that each text holds: text and gram, int64 [M] each, each pair once, in the order of the texts."""
    if len(grams["is_whole"]) == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    table = (grams["lengths"], grams["slots"], grams["rows"], grams["bits"])
    longest = int(np.diff(starts).max(initial=0))
    seen = np.full(len(grams["is_whole"]), -1, dtype=np.int64)
    held: tuple[np.ndarray, np.ndarray] = _hold(hashes, starts, *table, seen, np.empty(longest + 1, dtype=np.uint64))
    return held


def items_held(
    texts: np.ndarray, held: np.ndarray, grams: Mapping[str, np.ndarray], coverage: float, common: int, short: int
) -> tuple[np.ndarray, np.ndarray]:
    """The texts that contain an item, in order, and for each the item of which it holds the largest share.

    `texts` and `held` are those of a whole task, in the order of the texts. A text contains an item if it holds at
    least `coverage` of those of its grams that at most `common` texts hold; or all its grams, if it has at most `short`
    words; or if it is the item. Of equal shares the first item counts.
    """
    frequency = np.bincount(held, minlength=len(grams["is_whole"]))
    is_common = (frequency > common) & ~grams["is_whole"]
    gram_of_pair = np.repeat(np.arange(len(is_common)), np.diff(grams["item_starts"]))
    rare = ~is_common[gram_of_pair] & ~grams["is_whole"][gram_of_pair]
    sizes_rare = np.bincount(grams["items"][rare], minlength=len(grams["sizes"])).astype(np.int64)
    facts = (grams["is_whole"], is_common, grams["item_starts"], grams["items"], grams["sizes"], sizes_rare)
    best: np.ndarray = _best(len(np.unique(texts)), texts, held, *facts, grams["num_words"] <= short, coverage)
    chosen = best[:, 0] >= 0
    return best[chosen, 0], best[chosen, 1]


@compiled
def _mixed(run, length):  # type: ignore[no-untyped-def]
    """The gram of a run; never 0."""
    x = run + length * _BASE
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return max(x ^ (x >> np.uint64(31)), np.uint64(1))


@compiled
def _hash_words(codes, offsets, letters, hashes, starts):  # type: ignore[no-untyped-def]
    count = 0
    for text in range(len(offsets) - 1):
        found = np.uint64(0)
        for i in range(offsets[text], offsets[text + 1]):
            letter = np.uint64(letters[codes[i]])
            if letter:
                found = found * _BASE + letter
            elif found:
                hashes[count] = found
                count += 1
                found = np.uint64(0)
        if found:
            hashes[count] = found
            count += 1
        starts[text + 1] = count


@compiled
def _power(size):  # type: ignore[no-untyped-def]
    found = np.uint64(1)
    for _ in range(size):
        found *= _WORDS
    return found


@compiled
def _sums(hashes, first, last, sums):  # type: ignore[no-untyped-def]
    """The hash of each beginning of a text: a run is what lies between two of them."""
    total = np.uint64(0)
    sums[0] = total
    for k in range(first, last):
        word = hashes[k]
        total = total * _WORDS + ((word ^ (word >> np.uint64(32))) * _MIX_1 | np.uint64(1))
        sums[k - first + 1] = total


@allocating
def _item_grams(hashes, starts, lengths, whole):  # type: ignore[no-untyped-def]
    most = len(hashes) + 2 * len(lengths)
    found, owners = np.empty(most, dtype=np.uint64), np.empty(most, dtype=np.int64)
    kinds, sums = np.zeros(most, dtype=np.bool_), np.empty(len(hashes) + 1, dtype=np.uint64)
    count = 0
    for item in range(len(lengths)):
        num_words, length = starts[item + 1] - starts[item], lengths[item]
        _sums(hashes, starts[item], starts[item + 1], sums)
        if length:
            power = _power(length)
            for k in range(num_words - length + 1):
                found[count] = _mixed(sums[k + length] - sums[k] * power, np.uint64(length))
                owners[count] = item
                count += 1
        if whole and num_words:
            found[count] = _mixed(sums[num_words], _WHOLE + np.uint64(num_words))
            owners[count], kinds[count] = item, True
            count += 1
    return found[:count], owners[:count], kinds[:count]


@compiled
def _fill(values, slots, rows, bits):  # type: ignore[no-untyped-def]
    mask, bit_mask = len(slots) - 1, np.uint64(64 * len(bits) - 1)
    for row in range(len(values)):
        slot = np.int64(values[row] >> np.uint64(32)) & mask
        while slots[slot]:
            slot = (slot + 1) & mask
        slots[slot], rows[slot] = values[row], row
        bit = values[row] & bit_mask
        bits[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))


@compiled
def _row(value, slots, rows):  # type: ignore[no-untyped-def]
    mask = len(slots) - 1
    slot = np.int64(value >> np.uint64(32)) & mask
    while slots[slot]:
        if slots[slot] == value:
            return rows[slot]
        slot = (slot + 1) & mask
    return -1


@allocating
def _hold(hashes, starts, lengths, slots, rows, bits, seen, sums):  # type: ignore[no-untyped-def]
    found = np.empty((2, 64), dtype=np.int64)
    count, bit_mask = 0, np.uint64(64 * len(bits) - 1)
    for text in range(len(starts) - 1):
        num_words = starts[text + 1] - starts[text]
        _sums(hashes, starts[text], starts[text + 1], sums)
        for which in range(len(lengths) + 1):  # the last: the whole
            whole = which == len(lengths)
            length = num_words if whole else lengths[which]
            power, salt = (
                _power(length) if not whole else np.uint64(0),
                np.uint64(length) + (_WHOLE if whole else np.uint64(0)),
            )
            for k in range(num_words - length + 1):
                value = _mixed(sums[k + length] - sums[k] * power, salt)
                bit = value & bit_mask
                if not bits[bit >> np.uint64(6)] >> (bit & np.uint64(63)) & np.uint64(1):
                    continue
                row = _row(value, slots, rows)
                if row < 0 or seen[row] == text:
                    continue
                seen[row] = text
                if count == found.shape[1]:
                    larger = np.empty((2, 2 * count), dtype=np.int64)
                    for at in range(count):  # a slice would be compiled for seconds: numba brings its errors along
                        larger[0, at], larger[1, at] = found[0, at], found[1, at]
                    found = larger
                found[0, count], found[1, count] = text, row
                count += 1
    return found[0, :count], found[1, :count]


@allocating
def _best(num_texts, texts, held, is_whole, is_common, item_starts, items, sizes, sizes_rare, is_short, coverage):  # type: ignore[no-untyped-def]
    """For each text the item that it holds most of: text (-1: none) and item, int64 [texts with a gram, 2]."""
    best = np.full((num_texts, 2), -1, dtype=np.int64)
    every, rare = np.zeros(len(sizes), dtype=np.int64), np.zeros(len(sizes), dtype=np.int64)
    equal = np.zeros(len(sizes), dtype=np.bool_)
    touched = np.empty(len(sizes), dtype=np.int64)
    at = number = 0
    while at < len(texts):
        text, num_touched = texts[at], 0
        while at < len(texts) and texts[at] == text:
            gram = held[at]
            for item in items[item_starts[gram] : item_starts[gram + 1]]:
                if every[item] == 0 and not equal[item]:
                    touched[num_touched] = item
                    num_touched += 1
                if is_whole[gram]:
                    equal[item] = True
                else:
                    every[item] += 1
                    rare[item] += not is_common[gram]
            at += 1
        most = 0.0
        for item in touched[:num_touched]:
            share = rare[item] / sizes_rare[item] if sizes_rare[item] else 0.0
            if equal[item] or (is_short[item] and every[item] == sizes[item]):
                share = 1.0
            elif rare[item] == 0 or rare[item] < coverage * sizes_rare[item]:
                share = 0.0
            if share > most or (share == most and share > 0.0 and item < best[number, 1]):
                most, best[number, 0], best[number, 1] = share, text, item
            every[item], rare[item], equal[item] = 0, 0, False
        number += 1
    return best
