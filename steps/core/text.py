"""Texts as words: passages, near-duplicates, and documents that contain a hold-out item."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

NUM_PERMUTATIONS = 128
ROWS_PER_BAND = (
    8  # 16 bands of 8 rows: a pair at Jaccard 0.8 meets in some band with probability 0.95, at 0.6 with 0.24
)
CHUNK_SHINGLES = 8192  # bounds the memory of a long document's signature to 8 MiB

WORD = re.compile(r"\w+")
BOUNDARY = re.compile(r"\n+|(?<=[.!?])[\"')\]]*[ \t]+")  # the next line keeps its indentation
BLANK_LINES = re.compile(r"\A(?:[ \t]*\n)+")


def words_of(text: str) -> list[str]:
    """The lower-cased words of a text, without punctuation."""
    return WORD.findall(text.lower())


def passages(text: str, max_words: int, min_words: int) -> list[str]:
    """A text, whole if it is short, else cut at sentence and line starts; its whitespace is kept within a passage.

    Words are separated by whitespace. A sentence longer than `max_words` is cut between words; passages under
    `min_words` are left out.
    """
    if len(text.split()) <= max_words:
        return [text] if len(text.split()) >= min_words else []
    found, start, count = [], 0, 0
    for begin, end in _units(text, max_words):
        size = len(text[begin:end].split())
        if count and count + size > max_words:
            found.append(text[start:begin])
            start, count = begin, 0
        count += size
    found.append(text[start:])
    trimmed = [BLANK_LINES.sub("", passage).rstrip() for passage in found]
    return [passage for passage in trimmed if len(passage.split()) >= min_words]


def _units(text: str, max_words: int) -> list[tuple[int, int]]:
    """Spans of sentences and lines; long ones are cut between words."""
    cuts = sorted({0, len(text), *(match.end() for match in BOUNDARY.finditer(text))})
    units = []
    for begin, end in pairwise(cuts):
        starts = [begin + match.start() for match in re.finditer(r"\S+", text[begin:end])]
        inner = [begin, *starts[max_words::max_words], end]
        units += list(pairwise(inner))
    return units


class WordHashes:
    """64-bit hashes of runs of words; the same words give the same hash on every machine."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def windows(self, words: Sequence[str], *sizes: int) -> dict[int, np.ndarray]:
        """For every size one hash per run of so many words, in order; none if there are fewer words."""
        ids = np.fromiter((self._id(word) for word in words), dtype=np.uint64, count=len(words))
        found = {}
        runs = np.zeros(len(ids), dtype=np.uint64)
        for size in range(1, max(sizes, default=0) + 1):
            count = max(0, len(ids) - size + 1)
            runs = runs[:count] * np.uint64(0x9E3779B97F4A7C15) + ids[size - 1 : size - 1 + count]
            if size in sizes:
                found[size] = _mixed(runs)
        return found

    def _id(self, word: str) -> int:
        found = self._ids.get(word)
        if found is None:
            found = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
            self._ids[word] = found
        return found


def _mixed(x: np.ndarray) -> np.ndarray:
    """Spread every bit over all bits (the finaliser of SplitMix64)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x


def near_duplicates(texts: Sequence[str], similarity: float, shingle_words: int = 5) -> list[int]:
    """For every text the smallest position of a text in its cluster.

    Two texts are near-duplicates if the Jaccard similarity of their runs of `shingle_words` words, estimated by
    MinHash, is at least `similarity`; a cluster is closed under that. A shorter text is one run of all its words; a
    text without a word is alone. Candidates come from banding, so a pair close to the threshold can be missed.
    """
    signatures_NP, rows = _signatures(texts, shingle_words)
    parent = list(range(len(texts)))

    def root(position: int) -> int:
        while parent[position] != position:
            parent[position] = parent[parent[position]]
            position = parent[position]
        return position

    for band in range(0, NUM_PERMUTATIONS, ROWS_PER_BAND):
        buckets: dict[bytes, list[int]] = {}
        for row, columns in enumerate(np.ascontiguousarray(signatures_NP[:, band : band + ROWS_PER_BAND])):
            buckets.setdefault(columns.tobytes(), []).append(row)
        for bucket in buckets.values():
            rest = np.array(bucket)
            while len(rest) > 1:
                first, rest = rest[0], rest[1:]
                close = (signatures_NP[rest] == signatures_NP[first]).mean(axis=1) >= similarity
                for other in rest[close]:
                    low, high = sorted((root(rows[first]), root(rows[other])))
                    parent[high] = low
                rest = rest[~close]
    return [root(position) for position in range(len(texts))]


def _signatures(texts: Sequence[str], shingle_words: int) -> tuple[np.ndarray, list[int]]:
    """MinHash signatures of the texts that have a word, and the positions of those texts."""
    rng = np.random.default_rng(20240607)  # fixed: the same texts are near-duplicates in every refresh
    a_P, b_P = rng.integers(1, 2**64, size=(2, NUM_PERMUTATIONS), dtype=np.uint64)
    a_P |= np.uint64(1)
    hashes = WordHashes()
    signatures, rows = [], []
    for position, text in enumerate(texts):
        words = words_of(text)
        if not words:
            continue
        size = min(shingle_words, len(words))
        shingles = np.unique(hashes.windows(words, size)[size])
        signature_P = np.full(NUM_PERMUTATIONS, np.iinfo(np.uint64).max, dtype=np.uint64)
        for begin in range(0, len(shingles), CHUNK_SHINGLES):
            chunk = shingles[begin : begin + CHUNK_SHINGLES]
            signature_P = np.minimum(signature_P, (a_P[:, None] * chunk + b_P[:, None]).min(axis=1))
        signatures.append(signature_P)
        rows.append(position)
    return np.array(signatures, dtype=np.uint64).reshape(len(rows), NUM_PERMUTATIONS), rows


class ItemGrams:
    """The n-grams of hold-out items, to find the documents that contain an item.

    An item of fewer than `size` words is one gram of all its words; under `min_words` words it is not looked for.
    """

    def __init__(self, items: Iterable[tuple[str, str]], size: int, min_words: int) -> None:
        self._hashes = WordHashes()
        self._of_item: dict[str, np.ndarray] = {}
        by_length: dict[int, list[np.ndarray]] = {}
        for name, text in items:
            words = words_of(text)
            if len(words) < min_words:
                continue
            length = min(size, len(words))
            grams = np.unique(self._hashes.windows(words, length)[length])
            self._of_item[name] = grams
            by_length.setdefault(length, []).append(grams)
        self._grams = {length: np.unique(np.concatenate(found)) for length, found in sorted(by_length.items())}
        self._items_with: dict[int, list[str]] = {}
        for name, grams in self._of_item.items():
            for gram in grams.tolist():
                self._items_with.setdefault(gram, []).append(name)

    def contained(self, texts: Iterable[str], coverage: float, common: int) -> list[str | None]:
        """For every text the item of whose grams it holds the largest share, if that is at least `coverage`.

        Grams that more than `common` of the texts hold are ignored: they are boilerplate.
        """
        hits = [self._hits(text) for text in texts]
        frequency = Counter(gram for found in hits for gram in found)
        ignored = {gram for gram, count in frequency.items() if count > common}
        sizes = {
            name: sum(gram not in ignored for gram in grams.tolist()) if ignored else len(grams)
            for name, grams in self._of_item.items()
        }
        return [self._best([gram for gram in found if gram not in ignored], sizes, coverage) for found in hits]

    def _hits(self, text: str) -> list[int]:
        hits: list[int] = []
        for length, windows in self._hashes.windows(words_of(text), *self._grams).items():
            grams = self._grams[length]
            places = np.minimum(np.searchsorted(grams, windows), len(grams) - 1)
            hits += np.unique(windows[grams[places] == windows]).tolist()
        return hits

    def _best(self, grams: list[int], sizes: dict[str, int], coverage: float) -> str | None:
        covered = Counter(name for gram in grams for name in self._items_with[gram])
        shares = [(-count / sizes[name], name) for name, count in covered.items() if count >= coverage * sizes[name]]
        return min(shares)[1] if shares else None
