"""MinHash: signatures whose equal places estimate the Jaccard similarity of two texts, and the buckets where they meet.

The signatures are datatrove's: runs of n words of the simplified text, joined by spaces, hashed by xxHash (64 bits,
seed 0); under each of P permutations `(x * a + b) mod 2^64 mod (2^61 - 1)` the least. A bucket is a hash of the places
of one band, so two texts meet exactly where they meet there. A text with fewer words than a run has no bucket.

Letters: N texts, P permutations, K bands of R places each (P = K * R).
"""

import functools
from typing import NamedTuple

import numpy as np

from steps.core.columns import Columns
from steps.core.compiled import allocating, compiled
from steps.core.shards import digest_of
from steps.core.simplify import simplified
from steps.core.texts import Texts
from steps.core.tokens import tokenise

PRIME = (1 << 61) - 1


class Banding(NamedTuple):
    """What decides the buckets; the defaults are datatrove's."""

    shingle_words: int = 5
    num_bands: int = 14
    rows: int = 8
    seed: int = 1


DEFAULTS = Banding()
SETTINGS = digest_of(["minhash", *DEFAULTS])  # of `band_hashes` with the defaults

_P1, _P2, _P3 = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)
_P4, _P5 = np.uint64(0x85EBCA77C2B2AE63), np.uint64(0x27D4EB2F165667C5)
_MASK = np.uint64(PRIME)
_LOW = np.uint64(0xFFFFFFFF)


def band_hashes(texts: Texts, banding: Banding = DEFAULTS) -> np.ndarray:
    """The buckets of texts, uint64 [N, K]; 0 is no bucket."""
    places = signatures(texts, banding)
    buckets: np.ndarray = _buckets(places, banding.num_bands, banding.rows)
    return buckets


def signatures(texts: Texts, banding: Banding = DEFAULTS) -> np.ndarray:
    """The signatures of texts, uint64 [N, P]; of a text without a run of words all 2^64 - 1."""
    codes, offsets = simplified(texts)
    words = tokenise(codes, offsets)
    a, b = permutations(banding.num_bands * banding.rows, banding.seed)
    found = np.full((len(texts), len(a)), np.iinfo(np.uint64).max, dtype=np.uint64)
    most = int(np.diff(words.texts).max(initial=0))
    stream = np.empty(4 * int(np.diff(offsets).max(initial=0)) + most + 8, dtype=np.uint64)
    scratch = (stream, np.empty((2, most), dtype=np.int64), np.empty(most + 4, dtype=np.uint64))
    _sign(codes, words.texts, words.begin, words.end, banding.shingle_words, a, b, found, *scratch)
    return found


@functools.cache
def permutations(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The factors and the summands of the permutations, uint64 [P] each."""
    draw = np.random.RandomState(seed)  # the old generator: datatrove's values
    a = draw.randint(1, PRIME, dtype=np.uint64, size=count)
    return a, draw.randint(0, PRIME, dtype=np.uint64, size=count)


def clusters(bands: np.ndarray | Columns, counted: np.ndarray | None = None) -> np.ndarray:
    """The smallest row of each row's cluster, int64 [N]; rows of uint64 [N, K] that share a bucket are in one cluster.

    A bucket is shared in the same column; 0 is no bucket. `counted`, bool [N], says which rows take part; none: all.
    """
    columns = Columns.of(bands)
    parent = np.arange(len(columns))
    for band in range(columns.num_columns):
        column = np.ascontiguousarray(columns.column(band))
        if counted is not None:
            column[~counted] = 0
        _unite(parent, column, np.argsort(column))
    _flatten(parent)
    return parent


@compiled
def _rotated(x, bits):  # type: ignore[no-untyped-def]
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@compiled
def _xxhash(stream, begin, end):  # type: ignore[no-untyped-def]
    """xxHash of the bytes [begin, end), 64 bits, seed 0; `stream[i]` holds the eight bytes from i on."""
    at, size = begin, np.uint64(end - begin)
    if end - begin >= 32:
        v1, v2, v3, v4 = _P1 + _P2, _P2, np.uint64(0), np.uint64(0) - _P1
        while at + 32 <= end:
            v1 = _rotated(v1 + stream[at] * _P2, 31) * _P1
            v2 = _rotated(v2 + stream[at + 8] * _P2, 31) * _P1
            v3 = _rotated(v3 + stream[at + 16] * _P2, 31) * _P1
            v4 = _rotated(v4 + stream[at + 24] * _P2, 31) * _P1
            at += 32
        found = _rotated(v1, 1) + _rotated(v2, 7) + _rotated(v3, 12) + _rotated(v4, 18)
        for v in (v1, v2, v3, v4):
            found = (found ^ (_rotated(v * _P2, 31) * _P1)) * _P1 + _P4
    else:
        found = _P5
    found += size
    while at + 8 <= end:
        found = _rotated(found ^ (_rotated(stream[at] * _P2, 31) * _P1), 27) * _P1 + _P4
        at += 8
    if at + 4 <= end:
        found = _rotated(found ^ ((stream[at] & _LOW) * _P1), 23) * _P2 + _P3
        at += 4
    while at < end:
        found = _rotated(found ^ ((stream[at] & np.uint64(0xFF)) * _P5), 11) * _P1
        at += 1
    found = (found ^ (found >> np.uint64(33))) * _P2
    found = (found ^ (found >> np.uint64(29))) * _P3
    return found ^ (found >> np.uint64(32))


@compiled
def _encode(codes, begin, end, stream, spans):  # type: ignore[no-untyped-def]
    """Words as UTF-8, a space after each, each byte with the seven after it; and where each word begins and ends."""
    size = 0
    for word in range(len(begin)):
        spans[0, word] = size
        for i in range(begin[word], end[word]):
            code = np.uint64(codes[i])
            if code < 0x80:
                stream[size] = code
                size += 1
                continue
            if code < 0x800:
                stream[size] = np.uint64(0xC0) | code >> np.uint64(6)
                size += 1
            else:
                if code < 0x10000:
                    stream[size] = np.uint64(0xE0) | code >> np.uint64(12)
                    size += 1
                else:
                    stream[size] = np.uint64(0xF0) | code >> np.uint64(18)
                    stream[size + 1] = np.uint64(0x80) | (code >> np.uint64(12) & np.uint64(63))
                    size += 2
                stream[size] = np.uint64(0x80) | (code >> np.uint64(6) & np.uint64(63))
                size += 1
            stream[size] = np.uint64(0x80) | (code & np.uint64(63))
            size += 1
        spans[1, word] = size
        stream[size] = np.uint64(32)
        size += 1
    ahead = np.uint64(0)
    for i in range(size - 1, -1, -1):
        ahead = ahead << np.uint64(8) | stream[i]
        stream[i] = ahead


@compiled
def _fold(x, a, b):  # type: ignore[no-untyped-def]
    """(x * a + b) mod 2^64 mod (2^61 - 1), as a signed number: those are compared faster."""
    value = x * a + b
    folded = np.int64((value & _MASK) + (value >> np.uint64(61)))
    return folded - np.int64(PRIME) if folded >= np.int64(PRIME) else folded


@allocating
def _sign(codes, texts, begin, end, size, a, b, found, stream, spans, hashes):  # type: ignore[no-untyped-def]
    """Write the signature of each text that has a run of `size` words."""
    least = np.empty(len(a), dtype=np.int64)
    for text in range(len(texts) - 1):
        first, last = texts[text], texts[text + 1]
        count = last - first - size + 1
        if count < 1:
            continue
        _encode(codes, begin[first:last], end[first:last], stream, spans)
        for k in range(count):
            hashes[k] = _xxhash(stream, spans[0, k], spans[1, k + size - 1])
        while count % 4:  # four at a time; a run twice changes no minimum
            hashes[count] = hashes[0]
            count += 1
        least[:] = PRIME
        for k in range(0, count, 4):
            x0, x1, x2, x3 = hashes[k], hashes[k + 1], hashes[k + 2], hashes[k + 3]
            for p in range(len(a)):
                low = min(_fold(x0, a[p], b[p]), _fold(x1, a[p], b[p]))
                high = min(_fold(x2, a[p], b[p]), _fold(x3, a[p], b[p]))
                least[p] = min(least[p], low, high)
        for p in range(len(a)):
            found[text, p] = np.uint64(least[p])


@allocating
def _buckets(places, num_bands, rows):  # type: ignore[no-untyped-def]
    """One hash of each band, never 0; 0 for a text without a signature."""
    found = np.zeros((len(places), num_bands), dtype=np.uint64)
    for text in range(len(places)):
        if places[text, 0] > _MASK:
            continue
        for band in range(num_bands):
            mixed = np.uint64(rows)
            for place in places[text, band * rows : (band + 1) * rows]:
                mixed = (mixed ^ place) * _P1
                mixed = (mixed ^ (mixed >> np.uint64(32))) * _P2
                mixed ^= mixed >> np.uint64(29)
            found[text, band] = max(mixed, np.uint64(1))
    return found


@compiled
def _root(parent, row):  # type: ignore[no-untyped-def]
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row


@compiled
def _unite(parent, column, order):  # type: ignore[no-untyped-def]
    for k in range(1, len(order)):
        if column[order[k]] != 0 and column[order[k]] == column[order[k - 1]]:
            one, other = _root(parent, order[k - 1]), _root(parent, order[k])
            parent[max(one, other)] = min(one, other)


@compiled
def _flatten(parent):  # type: ignore[no-untyped-def]
    for row in range(len(parent)):
        parent[row] = parent[parent[row]]  # a parent is an earlier row, and that one is flat
