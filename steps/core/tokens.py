"""English words as spaCy's blank pipeline cuts them, compiled.

`tokenise(codes, offsets)` takes N texts as one array of code points, uint32 [C], in which text i is
`codes[offsets[i]:offsets[i + 1]]` (offsets int64 [N + 1], `code_points(texts)` makes both), and gives `Words`: W words
in order, those of text i at `[texts[i], texts[i + 1])`. Any texts will do, also normalised ones, also single lines.

What it does is spaCy's algorithm, written anew: a text is cut at white space; from each piece prefixes and suffixes are
taken off in turn, unless the rest is a special case (`don't`, `Mr.`); a rest that is no address of the web is cut at
its infixes; at the end special cases that lie across words are put together (`:` `)`). White space is no word here.

Differs:    a special case across words is not held back by a longer one that has white space in it (`: - )`); digits
            of an address of the web are 0-9 only. tests/steps/core/test_tokens.py compares the two on real text.
"""

import functools
import unicodedata
from collections.abc import Sequence

import numpy as np

from steps.core import english
from steps.core.cutter import (
    ALPHA,
    BEFORE_DOT,
    DECIMAL,
    INFIX,
    LETTER,
    LINE_END,
    LOWER,
    MAX_PARTS,
    ODD,
    PREFIX,
    PUNCTUATION,
    QUOTE,
    SENTENCE_END,
    SPACE,
    SPREAD,
    SUFFIX,
    SYMBOL,
    TERMINAL,
    UPPER,
    WORD,
    cut_texts,
    hash_characters,
)
from steps.core.words import Tables, Words

NUM_ASSIGNED = 0x32400  # code points above are no letters, digits or punctuation
LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"


def code_points(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Texts as one array of code points and the offsets of each text in it."""
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)), out=offsets[1:])
    return np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32), offsets


def read_only(codes: np.ndarray) -> np.ndarray:
    """The same array, not to be written to: numba compiles anew for one that can be, which costs seconds."""
    codes = codes.view()
    codes.flags.writeable = False
    return codes


def tokenise(codes: np.ndarray, offsets: np.ndarray) -> Words:
    """The words of texts."""
    return _tokenise_with(tables(), read_only(codes), offsets)


def hash_of(word: str) -> np.uint64:
    """The hash of a word: a polynomial of its code points, so that words' hashes can be joined to that of a phrase."""
    codes, _ = code_points([word])
    return np.uint64(hash_characters(codes, 0, len(codes)))


@functools.cache
def tables() -> Tables:
    """The tables, made once a process."""
    cases = english.special_cases()
    words = sorted(cases)
    rules = np.zeros((len(words), MAX_PARTS), dtype=np.int64)
    for row, word in enumerate(words):
        rules[row, : len(cases[word])] = [len(part) for part in cases[word]]
    none = np.zeros((0, MAX_PARTS), dtype=np.int64)
    endings = _hash_table((english.CURRENCIES + english.UNITS).split())
    plain = Tables(character_classes(), *_hash_table([]), none, none, *endings)
    found = _tokenise_with(plain, *code_points(words))
    patterns = np.zeros_like(rules)
    for row in range(len(words)):
        first, last = found.texts[row], found.texts[row + 1]
        if last - first > 1:
            patterns[row, : last - first] = (found.end - found.begin)[first:last]
    return Tables(plain.classes, *_hash_table(words), rules, patterns, *endings)


@functools.cache
def character_classes() -> np.ndarray:
    """The classes of every code point, as bits, uint32."""
    classes = np.zeros(0x110000, dtype=np.uint32)
    characters = [chr(code) for code in range(NUM_ASSIGNED)]
    for bit, test in ((SPACE, str.isspace), (ALPHA, str.isalpha), (WORD, str.isalnum), (DECIMAL, str.isdecimal)):
        classes[:NUM_ASSIGNED] |= np.where([test(character) for character in characters], np.uint32(bit), np.uint32(0))
    marks = [unicodedata.category(character)[0] == "P" for character in characters]
    classes[:NUM_ASSIGNED] |= np.where(marks, np.uint32(PUNCTUATION), np.uint32(0))
    classes[[ord(character) for character in LINE_ENDS]] |= np.uint32(LINE_END)
    lower, upper = english.UNCASED + english.LOWER, english.UNCASED + english.UPPER
    ascii_marks = " ".join(f"{code:X}" for code in range(33, 127) if not chr(code).isalpha())
    odd = (english.PREFIXES, english.SUFFIXES, english.ICONS, english.BEFORE_DOT, english.QUOTES, ascii_marks)
    for bit, members in (
        (SYMBOL, english.SYMBOLS),
        (LETTER, english.UNCASED + english.LOWER + english.UPPER + english.TITLE),
        (LOWER, lower),
        (UPPER, upper),
        (QUOTE, english.QUOTES),
        (PREFIX, english.PREFIXES + " " + english.ICONS),
        (SUFFIX, english.SUFFIXES + " " + english.ICONS),
        (INFIX, "2026 " + english.ICONS),
        (BEFORE_DOT, english.BEFORE_DOT + " " + lower),
        (SENTENCE_END, english.SENTENCE_ENDS),
        (TERMINAL, english.TERMINALS),
        (ODD, " ".join(odd)),
    ):
        classes[english.code_points(members)] |= np.uint32(bit)
    return classes


def _hash_table(words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of words, open addressing with linear probing, at most a quarter full; and their rows."""
    size = 1 << max(4, (4 * len(words)).bit_length())
    keys, rows = np.zeros(size, dtype=np.uint64), np.full(size, -1, dtype=np.int64)
    for row, word in enumerate(words):
        key = hash_of(word)
        slot = int((int(key) * int(SPREAD)) % 2**64 >> 32) % size
        while rows[slot] >= 0:
            slot = (slot + 1) % size
        keys[slot], rows[slot] = key, row
    return keys, rows


def _tokenise_with(known: Tables, codes: np.ndarray, offsets: np.ndarray) -> Words:
    size = len(codes)  # as many words as characters at most; pages that are never written cost nothing
    longest = int(np.diff(offsets).max(initial=0))
    begin, end = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
    flags, hashes = np.empty(size, dtype=np.uint8), np.empty(size, dtype=np.uint64)
    words = Words(np.zeros(len(offsets), dtype=np.int64), begin, end, flags, hashes)
    count = cut_texts(codes, offsets, known, words, np.empty(longest + 1, dtype=np.int64))
    return Words(words.texts, *(column[:count].copy() for column in words[1:]))
