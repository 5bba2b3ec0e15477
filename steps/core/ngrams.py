"""Hashed n-grams, compiled: texts as bytes, words as features, a linear model over them, and a byte language model."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numba
import numpy as np

MAX_ORDER = 7  # so many bytes and their number fit into one 64-bit key: no two n-grams are ever confused
FOLD_WORDS = 5
FACTOR = np.uint64(0x100000001B3)
BASIS = np.uint64(0xCBF29CE484222325)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Bytes(NamedTuple):
    """Texts as UTF-8, one after the other: text i is `data[offsets[i] : offsets[i + 1]]`."""

    data: np.ndarray  # uint8 [B]
    offsets: np.ndarray  # int64 [N + 1]


def as_bytes(texts: Sequence[str]) -> Bytes:
    """The bytes of some texts; a lone surrogate is three bytes, as in its own encoding."""
    parts = [text.encode("utf-8", "surrogatepass") for text in texts]
    offsets = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    return Bytes(np.frombuffer(b"".join(parts), dtype=np.uint8), offsets)


@numba.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def mixed(x: np.uint64) -> np.uint64:
    """Spread every bit over all bits (the finaliser of SplitMix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _words(data: np.ndarray, begin: int, end: int, hashes: np.ndarray) -> int:
    """Write the hashes of a text's first words; returns their number.

    A word is a run of ASCII letters (lower-cased), digits and other letters' bytes; each code point from U+3000 to
    U+DFFF (CJK, kana, Hangul) and each ASCII mark is a word of its own. Hash: FNV-1a, 64 bits, mixed.
    """
    count, place = 0, begin
    while place < end and count < len(hashes):
        byte = data[place]
        if byte <= 32:
            place += 1
            continue
        value, stop = BASIS, place + 1
        if 0xE3 <= byte <= 0xED:
            stop = min(end, place + 3)
        elif byte >= 128 or 97 <= byte | 32 <= 122 or 48 <= byte <= 57:
            while stop < end:
                other = data[stop]
                if 0xE3 <= other <= 0xED or not (other >= 128 or 97 <= other | 32 <= 122 or 48 <= other <= 57):
                    break
                stop += 1
        for at in range(place, stop):
            letter = data[at]
            if 65 <= letter <= 90:
                letter |= 32
            value = (value ^ np.uint64(letter)) * FACTOR
        hashes[count] = mixed(value)
        count += 1
        place = stop
    return count


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _features(data: np.ndarray, offsets: np.ndarray, bits: int, max_words: int) -> tuple[np.ndarray, np.ndarray]:
    num_texts = len(offsets) - 1
    room = 0
    for row in range(num_texts):
        room += 2 * min(max_words, offsets[row + 1] - offsets[row])
    found = np.empty(room, dtype=np.uint32)
    ends = np.zeros(num_texts + 1, dtype=np.int64)
    seen = np.full(1 << bits, -1, dtype=np.int32)
    hashes = np.empty(max_words, dtype=np.uint64)
    shift, size = np.uint64(64 - bits), 0
    for row in range(num_texts):
        count = _words(data, offsets[row], offsets[row + 1], hashes)
        for at in range(count):
            for pair in range(2 if at else 1):
                value = mixed(hashes[at] + hashes[at - 1] * GOLDEN) if pair else hashes[at]
                bucket = np.int64(value >> shift)
                if seen[bucket] != row:
                    seen[bucket] = row
                    found[size] = bucket
                    size += 1
        ends[row + 1] = size
    return found[:size].copy(), ends


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sketches(data: np.ndarray, offsets: np.ndarray, salt: np.uint64, max_words: int) -> np.ndarray:
    found = np.empty(len(offsets) - 1, dtype=np.uint64)
    hashes = np.empty(max_words, dtype=np.uint64)
    for row in range(len(found)):
        count = _words(data, offsets[row], offsets[row + 1], hashes)
        least = ~np.uint64(0)
        for at in range(max(1, count - FOLD_WORDS + 1)):
            value = salt
            for word in range(at, min(count, at + FOLD_WORDS)):
                value = value * GOLDEN + hashes[word]
            least = min(least, mixed(value))
        found[row] = least
    return found


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _occurrences(
    data: np.ndarray, offsets: np.ndarray, num_buckets: int, max_words: int
) -> tuple[np.ndarray, np.ndarray]:
    num_texts = len(offsets) - 1
    room = 0
    for row in range(num_texts):
        room += 2 * min(max_words, offsets[row + 1] - offsets[row])
    found = np.empty(room, dtype=np.uint32)
    ends = np.zeros(num_texts + 1, dtype=np.int64)
    hashes = np.empty(max_words, dtype=np.uint64)
    size = 0
    for row in range(num_texts):
        count = _words(data, offsets[row], offsets[row + 1], hashes)
        for at in range(count):
            for pair in range(2 if at else 1):
                value = mixed(hashes[at] + hashes[at - 1] * GOLDEN) if pair else hashes[at]
                found[size] = value % np.uint64(num_buckets)
                size += 1
        ends[row + 1] = size
    return found[:size].copy(), ends


class Features(NamedTuple):
    """Which features each text has: those of text i are `buckets[ends[i] : ends[i + 1]]`, each once."""

    buckets: np.ndarray  # uint32 [M]
    ends: np.ndarray  # int64 [N + 1]


def word_features(texts: Bytes, bits: int, max_words: int) -> Features:
    """Words and pairs of words of each text's first `max_words` words, hashed into 2^bits buckets."""
    return Features(*_features(texts.data, texts.offsets, bits, max_words))


def word_occurrences(texts: Bytes, num_buckets: int, max_words: int) -> Features:
    """The same, hashed into any number of buckets, and each as often as it stands there."""
    return Features(*_occurrences(texts.data, texts.offsets, num_buckets, max_words))


def folds_of(texts: Bytes, num_folds: int, salt: int, max_words: int) -> np.ndarray:
    """A fold of each text, int64 [N], by the least hash of its runs of five words (MinHash with one permutation).

    Two texts whose runs have Jaccard similarity J share it with probability J + (1 - J)/num_folds.
    """
    sketches: np.ndarray = _sketches(texts.data, texts.offsets, np.uint64(salt + 1), max_words)
    return np.asarray(sketches % np.uint64(num_folds), dtype=np.int64)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def fit_linear(
    buckets: np.ndarray, ends: np.ndarray, labels: np.ndarray, order: np.ndarray, size: int, rate: float
) -> np.ndarray:
    """Weights of a logistic regression, float32 [size + 1]; the last is the bias.

    A text with k features is a vector of k entries 1/sqrt(k). One step of AdaGrad for each row of `order`, so that
    a row that stands in it five times is seen five times; both classes weigh the same. `labels` are 0 and 1.
    """
    weights = np.zeros(size + 1, dtype=np.float32)
    squares = np.full(size + 1, 1e-6, dtype=np.float32)
    positives = 0
    for row in order:
        positives += labels[row]
    share = np.array([0.5 * len(order) / max(1, len(order) - positives), 0.5 * len(order) / max(1, positives)])
    for row in order:
        begin, end = ends[row], ends[row + 1]
        value = 1.0 / np.sqrt(max(1, end - begin))
        logit = 0.0
        for at in range(begin, end):
            logit += weights[buckets[at]]
        logit = logit * value + weights[size]
        step = (labels[row] - 1.0 / (1.0 + np.exp(-logit))) * share[labels[row]]
        for at in range(begin, end + 1):
            bucket = buckets[at] if at < end else size
            gradient = step * value if at < end else step
            squares[bucket] += gradient * gradient
            weights[bucket] += rate * gradient / np.sqrt(squares[bucket])
    return weights


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def linear_scores(buckets: np.ndarray, ends: np.ndarray, weights_KF: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The logit of each text, float64 [N], by the model `rows[i]` of K models."""
    scores = np.empty(len(ends) - 1, dtype=np.float64)
    bias = weights_KF.shape[1] - 1
    for row in range(len(scores)):
        total = 0.0
        for at in range(ends[row], ends[row + 1]):
            total += weights_KF[rows[row], buckets[at]]
        scores[row] = total / np.sqrt(max(1, ends[row + 1] - ends[row])) + weights_KF[rows[row], bias]
    return scores


class ByteModel(NamedTuple):
    """An n-gram model over bytes in a hash table (open addressing, below 2^32 places; key 0 is a free place).

    A key is the n-gram's bytes, the last the lowest, and its length in the highest byte. Values: the logarithm of the
    probability of its last byte after the others, and that of the weight of shorter n-grams after it; nats.
    """

    keys: np.ndarray  # uint64 [C]
    logs: np.ndarray  # float32 [C, 2]


def train_bytes(texts: Iterable[str], order: int, max_bytes: int) -> ByteModel:
    """Interpolated Kneser-Ney over the bytes of texts, one discount for each order.

    P(w|h) = max(c(hw) - D, 0)/c(h) + D·R(h)/c(h) · P(w|h'), with R(h) the number of distinct bytes seen after h, h'
    the context without its first byte, and D = n1/(n1 + 2·n2) of that order's counts, kept within 0.1 and 0.9. Counts
    of the highest order are occurrences; of a lower order the distinct bytes in front of it, and one more if a text
    starts with it. Below order 1 all 256 bytes are equal. Reads `max_bytes` bytes at most.

    Raises:
        ValueError: there is no text.
    """
    stream, ages = _stream(texts, max_bytes)
    keys = stream.astype(np.uint64)
    windows = [keys]
    for size in range(1, order):
        keys = keys.copy()
        keys[size:] |= stream[:-size].astype(np.uint64) << np.uint64(8 * size)
        windows.append(keys)
    found, counts = np.unique(windows[-1][ages >= order], return_counts=True)
    tables = [(found, counts)]
    for size in range(order - 1, 0, -1):
        starts = np.unique(windows[size - 1][ages == size])
        mask = np.uint64((1 << 8 * size) - 1)
        found, counts = np.unique(np.concatenate([tables[0][0] & mask, starts]), return_counts=True)
        tables.insert(0, (found, counts))
    return _hashed(_interpolated(tables))


def _stream(texts: Iterable[str], max_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of all texts, and for each how many bytes of its text there are up to it."""
    parts, size = [], 0
    for text in texts:
        part = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)[: max_bytes - size]
        parts.append(part)
        size += len(part)
        if size >= max_bytes:
            break
    if not size:
        raise ValueError("wanted text to count n-grams in, found none")
    return np.concatenate(parts), np.concatenate([np.arange(1, len(part) + 1) for part in parts])


def _interpolated(tables: list[tuple[np.ndarray, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each order the keys, without length, and the two logarithms of each."""
    every = np.arange(256, dtype=np.uint64)
    counts = np.zeros(256)
    counts[tables[0][0].astype(np.int64)] = tables[0][1]
    discount = _discount(tables[0][1])
    total = counts.sum()
    lower = (np.maximum(counts - discount, 0) + discount * np.count_nonzero(counts) / 256) / total
    levels = [(every, lower, np.ones(256))]
    for size, (keys, number) in enumerate(tables[1:], start=2):
        contexts, first, where = np.unique(keys >> np.uint64(8), return_index=True, return_inverse=True)
        totals = np.add.reduceat(number, first) if len(keys) else np.empty(0)
        kinds = np.diff(np.append(first, len(keys)))
        discount = _discount(number)
        weight = discount * kinds / totals
        below_keys, below, below_weight = levels[-1]
        rest = below[np.searchsorted(below_keys, keys & np.uint64((1 << 8 * (size - 1)) - 1))]
        levels.append((keys, (number - discount) / totals[where] + weight[where] * rest, np.ones(len(keys))))
        below_weight[np.searchsorted(below_keys, contexts)] = weight
    return [(keys, np.log(np.stack([share, weight], axis=1)).astype(np.float32)) for keys, share, weight in levels]


def _discount(counts: np.ndarray) -> float:
    ones, twos = int((counts == 1).sum()), int((counts == 2).sum())
    return min(0.9, max(0.1, ones / (ones + 2 * twos))) if ones else 0.1


def _hashed(levels: list[tuple[np.ndarray, np.ndarray]]) -> ByteModel:
    keys = np.concatenate([own | np.uint64(size << 56) for size, (own, _) in enumerate(levels, start=1)])
    capacity = int(len(keys) * 1.5)
    model = ByteModel(np.zeros(capacity, dtype=np.uint64), np.zeros((capacity, 2), dtype=np.float32))
    _fill(keys, np.concatenate([logs for _, logs in levels]), model.keys, model.logs)
    return model


@numba.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _place(key: np.uint64, places: int) -> np.int64:
    return np.int64((mixed(key) >> np.uint64(32)) * np.uint64(places) >> np.uint64(32))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill(keys: np.ndarray, values: np.ndarray, table: np.ndarray, logs: np.ndarray) -> None:
    for at in range(len(keys)):
        place = _place(keys[at], len(table))
        while table[place]:
            place = place + 1 if place + 1 < len(table) else 0
        table[place] = keys[at]
        logs[place] = values[at]


@numba.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _find(table: np.ndarray, key: np.uint64) -> np.int64:
    place: np.int64 = _place(key, len(table))
    while table[place]:
        if table[place] == key:
            return place
        place = place + 1 if place + 1 < len(table) else np.int64(0)
    return np.int64(-1)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _nats(data: np.ndarray, offsets: np.ndarray, table: np.ndarray, logs: np.ndarray, order: int) -> np.ndarray:
    found = np.zeros(len(offsets) - 1, dtype=np.float64)
    for row in range(len(found)):
        total, window, longest = 0.0, np.uint64(0), 0
        for at in range(offsets[row], offsets[row + 1]):
            before, window = window, window << np.uint64(8) | np.uint64(data[at])
            size = min(order, longest + 1)  # a context that was not seen is not looked for again
            while True:
                mask = (np.uint64(1) << np.uint64(8 * size)) - np.uint64(1)
                place = _find(table, window & mask | np.uint64(size) << np.uint64(56))
                if place >= 0:
                    total -= logs[place, 0]
                    break
                size -= 1
                mask >>= np.uint64(8)
                context = _find(table, before & mask | np.uint64(size) << np.uint64(56))
                if context >= 0:
                    total -= logs[context, 1]
            longest = size
        found[row] = total
    return found


def byte_nats(model: ByteModel, texts: Bytes, order: int) -> np.ndarray:
    """What each text costs under a byte model, nats summed over its bytes, float64 [N]."""
    found: np.ndarray = _nats(texts.data, texts.offsets, model.keys, model.logs, order)
    return found
