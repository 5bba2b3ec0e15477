# ruff: noqa: PLR0911, PLR1714, SIM102 - one branch for each rule of the tokeniser; numba has no sets
"""Cuts text into words, compiled: see `steps/core/tokens.py`, which is how to call it.

Pieces and words are ranges [lo, hi) of `codes`, the code points of all texts, uint32.
"""

from typing import Any

import numpy as np

from steps.core.compiled import compiled, inlined
from steps.core.words import Tables, Words

Array = np.ndarray

# Classes of characters, as bits.
SPACE, ALPHA, SYMBOL, LETTER, LOWER, UPPER, QUOTE, PREFIX = (1 << bit for bit in range(8))
SUFFIX, INFIX, BEFORE_DOT, WORD, PUNCTUATION, SENTENCE_END, TERMINAL, ODD = (1 << bit for bit in range(8, 16))
LINE_END, DECIMAL = 1 << 16, 1 << 17

# Facts of a word, as bits of `Words.flags`.
IS_SYMBOL, HAS_ALPHABETIC, IS_SENTENCE_END, IS_PUNCTUATION = 1, 2, 4, 8

HASH_BASE = np.uint64(0x9E3779B97F4A7C15)
SPREAD = np.uint64(0xD6E8FEB86659FD93)
MAX_SPECIAL = 12  # characters of the longest special case
MAX_PARTS = 12  # words that a special case lies across
MAX_ENDING = 5  # characters of the longest unit of measurement


@compiled
def hash_characters(codes: Array, lo: int, hi: int) -> np.uint64:
    """The hash of characters [lo, hi): a polynomial, so that the hashes of words can be joined."""
    found = np.uint64(0)
    for i in range(lo, hi):
        found = found * HASH_BASE + np.uint64(codes[i]) + np.uint64(1)
    return found


@inlined
def _row(keys: Array, rows: Array, key: np.uint64) -> int:
    """The row of a hash in a table; -1: not there."""
    mask = len(keys) - 1
    slot = np.int64((key * SPREAD) >> np.uint64(32)) & mask
    while rows[slot] >= 0:
        if keys[slot] == key:
            return int(rows[slot])
        slot = (slot + 1) & mask
    return -1


@inlined
def _special(codes: Array, lo: int, hi: int, known: Tables) -> int:
    if hi <= lo or hi - lo > MAX_SPECIAL:
        return -1
    return _row(known.keys, known.rows, hash_characters(codes, lo, hi))


@compiled
def _is_digit(code: Any) -> bool:
    return bool(48 <= code <= 57)


@compiled
def _dots(codes: Array, i: int, hi: int) -> int:
    lo = i
    while i < hi and codes[i] == 46:
        i += 1
    return i - lo


@inlined
def _prefix(codes: Array, lo: int, hi: int, classes: Array) -> int:
    """Length of what is split off at the front."""
    code = codes[lo]
    if classes[code] & PREFIX:
        return 1
    if code == 46:  # ..
        dots = _dots(codes, lo, hi)
        return dots if dots > 1 else 0
    after = codes[lo + 1] if lo + 1 < hi else np.uint32(0)
    if code == 43:  # +, but not +1
        return 0 if _is_digit(after) else 1
    if code == 85 and after == 83 and lo + 2 < hi and codes[lo + 2] == 36:  # US$
        return 3
    return 2 if (code == 67 or code == 65) and after == 36 else 0  # C$ A$


@inlined
def _suffix(codes: Array, lo: int, hi: int, known: Tables) -> int:
    """Length of what is split off at the end: the longest that fits."""
    if hi <= lo:
        return 0
    classes = known.classes
    code = codes[hi - 1]
    before = codes[hi - 2] if hi - 2 >= lo else np.uint32(0)
    third = codes[hi - 3] if hi - 3 >= lo else np.uint32(0)
    best = 0
    if classes[code] & SUFFIX:
        best = 2 if code == 0x2026 and before == 0x2026 else 1
    if code == 46:
        first = hi - 1
        while first > lo and codes[first - 1] == 46:
            first -= 1
        if hi - first > 1:
            best = hi - first
        else:
            celsius = third == 0xB0 and (before == 67 or before == 70 or before == 75)  # °C.
            capitals = classes[before] & UPPER and classes[third] & UPPER
            best = 1 if celsius or capitals or classes[before] & BEFORE_DOT else best
    elif (code == 115 or code == 83) and (before == 39 or before == 0x2019):  # 's
        best = max(best, 2)
    elif code == 43 and _is_digit(before):
        best = max(best, 1)
    for size in range(1, MAX_ENDING + 1):
        i = hi - 1 - size
        if i < lo or _is_digit(codes[hi - size]):
            break
        if _is_digit(codes[i]):
            if _row(known.ending_keys, known.ending_rows, hash_characters(codes, hi - size, hi)) >= 0:
                best = max(best, size)
            break
    return best


@inlined
def _infix(codes: Array, i: int, lo: int, hi: int, classes: Array) -> int:
    """Length of what a piece [lo, hi) is cut at, at i."""
    code = codes[i]
    if classes[code] & INFIX:
        return 1
    if not classes[code] & ODD:
        return 0
    dots = _dots(codes, i, hi)
    if dots > 1:
        return dots
    if i == lo or i + 1 >= hi:
        return 0
    before, after = classes[codes[i - 1]], classes[codes[i + 1]]
    if code == 46:
        return 1 if before & (LOWER | QUOTE) and after & (UPPER | QUOTE) else 0
    if code == 44:
        return 1 if before & LETTER and after & LETTER else 0
    digit = _is_digit(codes[i - 1])
    if (code == 43 or code == 45 or code == 42 or code == 94) and digit:  # + - * ^
        if _is_digit(codes[i + 1]) or codes[i + 1] == 45:
            return 1
    if not (before & LETTER or digit):
        return 0
    if code == 45 or code == 0x2013 or code == 0x2014 or code == 126:
        most = 3 if code == 45 else 2 if code == 0x2014 else 1
        size = 1
        while size < most and i + size < hi and codes[i + size] == code:
            size += 1
        return size if i + size < hi and classes[codes[i + size]] & LETTER else 0
    marks = code == 58 or code == 60 or code == 62 or code == 61 or code == 47  # : < > = /
    return 1 if marks and after & LETTER else 0


@compiled
def _is_tail(codes: Array, i: int, hi: int) -> bool:
    """Whether a port and a path, or nothing, follow a host."""
    if i < hi and codes[i] == 58:
        first = i = i + 1
        while i < hi and _is_digit(codes[i]):
            i += 1
        if not 2 <= i - first <= 5:
            return False
    return i == hi or codes[i] == 47 or codes[i] == 63 or codes[i] == 35


@compiled
def _is_label(code: Any) -> bool:
    return _is_digit(code) or 65 <= code <= 90 or 97 <= code <= 122 or 0xA1 <= code <= 0xFFFF


@compiled
def _is_host(codes: Array, lo: int, hi: int, classes: Array) -> bool:
    """Whether a name with a top-level domain stands at lo, with port and path up to hi."""
    first = lo
    while True:
        i = first
        while i < hi and (_is_label(codes[i]) or codes[i] == 45 or codes[i] == 95):
            i += 1
        if i == hi or codes[i] != 46 or not 1 <= i - first <= 64:
            return False
        if not _is_label(codes[first]) or not _is_label(codes[i - 1]):
            return False
        first = i = i + 1
        while i < hi and classes[codes[i]] & LOWER:
            i += 1
        if 2 <= i - first <= 63 and _is_tail(codes, i, hi):
            return True


@compiled
def _is_ip(codes: Array, lo: int, hi: int) -> bool:
    """Whether a public IPv4 address stands at lo, with port and path up to hi."""
    network, subnet, i = 0, 0, lo
    for place in range(4):
        value: Any = 0
        first = i
        while i < hi and _is_digit(codes[i]) and i - first < 4:
            value = value * 10 + np.int64(codes[i]) - 48
            i += 1
        least, most = (1, 223) if place == 0 else (1, 254) if place == 3 else (0, 255)
        if not 1 <= i - first <= 3 or not least <= value <= most or (codes[first] == 48 and (least or i - first > 2)):
            return False
        network = value if place == 0 else network
        subnet = value if place == 1 else subnet
        if place < 3:
            if i >= hi or codes[i] != 46:
                return False
            i += 1
    of_a_house = (network == 169 and subnet == 254) or (network == 192 and subnet == 168)
    private = of_a_house or network == 10 or network == 127 or (network == 172 and 16 <= subnet <= 31)
    return not private and _is_tail(codes, i, hi)


@compiled
def _is_address(codes: Array, lo: int, hi: int, classes: Array) -> bool:
    """Whether a piece is an address of the web: scheme, user, host or IP, port, path; only the host is needed."""
    if _is_host(codes, lo, hi, classes) or _is_ip(codes, lo, hi):
        return True
    i = lo
    while i < hi and (classes[codes[i]] & WORD or (43 <= codes[i] <= 46 and codes[i] != 44) or codes[i] == 95):
        i += 1
    if i - lo >= 2 and i + 2 < hi and codes[i] == 58 and codes[i + 1] == 47 and codes[i + 2] == 47:
        if _is_host(codes, i + 3, hi, classes) or _is_ip(codes, i + 3, hi):
            return True
    for i in range(lo + 1, hi):
        if codes[i] == 64 and (_is_host(codes, i + 1, hi, classes) or _is_ip(codes, i + 1, hi)):
            return True
    return False


@inlined
def _put(lo: int, hi: int, count: int, words: Words) -> int:
    words.begin[count], words.end[count] = lo, hi
    return count + 1


@inlined
def _put_parts(lo: int, lengths: Array, count: int, words: Words) -> int:
    for length in lengths:
        if length == 0:
            break
        count = _put(lo, lo + length, count, words)
        lo += length
    return count


@inlined
def _cut(codes: Array, lo: int, hi: int, row: int, known: Tables, count: int, words: Words, ends: Array) -> int:
    """Write where the words of a piece are; `row` is its special case, `ends` scratch for what is split off there."""
    a, z, num_ends, size = lo, hi, 0, -1
    while row < 0 and a < z and z - a != size:
        if size >= 0:
            row = _special(codes, a, z, known)
            if row >= 0:
                break
        size = z - a
        front = _prefix(codes, a, z, known.classes)
        if front:
            row = _special(codes, a + front, z, known)
            if row >= 0:
                count = _put(a, a + front, count, words)
                a += front
                break
        back = _suffix(codes, a + front, z, known)
        if back:
            row = _special(codes, a, z - back, known)
            z -= back
            ends[num_ends] = z
            num_ends += 1
            if row >= 0:
                break
        if front:
            count = _put(a, a + front, count, words)
            a += front
    if row >= 0:
        count = _put_parts(a, known.rules[row], count, words)
    elif a < z:
        count = _cut_middle(codes, a, z, known.classes, count, words)
    for k in range(num_ends - 1, -1, -1):
        count = _put(ends[k], ends[k - 1] if k else hi, count, words)
    return count


@inlined
def _cut_middle(codes: Array, lo: int, hi: int, classes: Array, count: int, words: Words) -> int:
    """Write where the words are of a piece that has lost its prefixes and suffixes."""
    odd, dot = np.uint32(0), False
    for i in range(lo, hi):
        odd |= classes[codes[i]]
        dot |= codes[i] == 46
    if not odd & ODD or (dot and _is_address(codes, lo, hi, classes)):
        return _put(lo, hi, count, words)
    first = i = lo
    while i < hi:
        length = _infix(codes, i, lo, hi, classes)
        if length and i > lo:
            if i > first:
                count = _put(first, i, count, words)
            count = _put(i, i + length, count, words)
            first = i + length
        i += max(length, 1)
    return _put(first, hi, count, words) if first < hi else count


@inlined
def _join(codes: Array, first: int, count: int, known: Tables, words: Words, found: Array) -> int:
    """Put special cases together that lie across the words of a piece, the longest first; returns the new count."""
    begin, end, patterns = words.begin, words.end, known.patterns
    num = count - first
    found[:num] = -1  # -1: free, -2: under a special case, else its row and size
    any_found = False
    for size in range(min(MAX_PARTS, num), 1, -1):
        for k in range(num - size + 1):
            row = _special(codes, begin[first + k], end[first + k + size - 1], known)
            if row < 0 or patterns[row, size - 1] == 0:
                continue
            fits = True
            for j in range(size):
                fits &= end[first + k + j] - begin[first + k + j] == patterns[row, j]
            if fits:
                any_found = True
                free = found[k] == -1 and found[k + size - 1] == -1
                for j in range(size):
                    found[k + j] = min(found[k + j], -2) if found[k + j] < 0 else found[k + j]
                if free:
                    found[k] = row * (MAX_PARTS + 1) + size
    if not any_found:
        return count
    to, k = first, 0
    while k < num:
        if found[k] < 0:
            to = _put(begin[first + k], end[first + k], to, words)
            k += 1
        else:
            to = _put_parts(begin[first + k], known.rules[found[k] // (MAX_PARTS + 1)], to, words)
            k += found[k] % (MAX_PARTS + 1)
    return to


@inlined
def _describe(classes: Array, codes: Array, word: int, words: Words) -> None:
    """Write the hash and the flags of a word."""
    key, every, some = np.uint64(0), np.uint32(0xFFFFFFFF), np.uint32(0)
    for code in codes[words.begin[word] : words.end[word]]:
        key = key * HASH_BASE + np.uint64(code) + np.uint64(1)
        every &= classes[code]
        some |= classes[code]
    _write(key, every, some, word, words)


@inlined
def _write(key: np.uint64, every: np.uint32, some: np.uint32, word: int, words: Words) -> None:
    single = words.end[word] - words.begin[word] == 1
    flags = IS_SYMBOL if every & SYMBOL else 0
    flags |= HAS_ALPHABETIC if some & ALPHA else 0
    flags |= IS_SENTENCE_END if single and every & SENTENCE_END else 0
    flags |= IS_PUNCTUATION if every & PUNCTUATION else 0
    words.hashes[word], words.flags[word] = key, flags


@compiled
def cut_texts(codes: Array, offsets: Array, known: Tables, words: Words, scratch: Array) -> int:
    """Write the words of all texts; returns how many."""
    classes = known.classes
    count = 0
    for text in range(len(offsets) - 1):
        i, stop = offsets[text], offsets[text + 1]
        while i < stop:
            if classes[codes[i]] & SPACE:
                i += 1
                continue
            lo, key, every, some = i, np.uint64(0), np.uint32(0xFFFFFFFF), np.uint32(0)
            while i < stop:
                code = codes[i]
                bits = classes[code]
                if bits & SPACE:
                    break
                key = key * HASH_BASE + np.uint64(code) + np.uint64(1)
                every &= bits
                some |= bits
                i += 1
            row = _row(known.keys, known.rows, key) if i - lo <= MAX_SPECIAL else -1
            first = count
            if row < 0 and not some & ODD:
                count = _put(lo, i, count, words)
                _write(key, every, some, first, words)
                continue
            count = _cut(codes, lo, i, row, known, count, words, scratch)
            if row < 0 and count - first > 2:  # two words are the whole piece, which is no special case
                count = _join(codes, first, count, known, words, scratch)
            for word in range(first, count):
                _describe(classes, codes, word, words)
        words.texts[text + 1] = count
    return count
