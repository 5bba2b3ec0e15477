"""Where a 64-bit value lies: sorted tables behind filters, made to be mapped from a file and searched in batches.

Each column of an array becomes a table: its values in order, and the row of each. A filter of under three bytes for
each value says of 399 in 400 values that a table lacks that it lacks them, in one read of a word that the cache holds;
so looking up in many small tables costs little more than in one large table.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from steps.core.compiled import allocating

VALUES_PER_WORD = 3  # of a filter: 64 bits for three values, four bits set by each
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_ONE, _SIX_BITS, _HALF = np.uint64(1), np.uint64(63), np.uint64(32)
_SHIFTS = (np.uint64(0), np.uint64(6), np.uint64(12), np.uint64(18))


def fingerprints(values: Iterable[str]) -> np.ndarray:
    """128 bits of each string, uint64 [N, 2], the same on every machine; no word is 0.

    Nobody can make two strings of one fingerprint (BLAKE2b).
    """
    digests = b"".join(hashlib.blake2b(_bytes(value), digest_size=16).digest() for value in values)
    words = np.frombuffer(digests, dtype="<u8").astype(np.uint64).reshape(-1, 2)
    return np.maximum(words, np.uint64(1))


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


class Queries(NamedTuple):
    """What is looked for in many tables, with its place in their filters: uint64 [K, Q], 0 is not looked for."""

    values: np.ndarray
    places: np.ndarray
    bits: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Queries":
        """Values, uint64 [K, Q], made ready."""
        values = np.ascontiguousarray(values)
        return cls(values, *_mixed(values))


@dataclass(frozen=True)
class Tables:
    """T tables, one after the other; table t lies at `starts[t]:starts[t + 1]`, its filter likewise."""

    values: np.ndarray  # uint64 [M], in order within each table
    rows: np.ndarray  # uint32 [M]; in order where values are equal
    starts: np.ndarray  # int64 [T + 1]
    filters: np.ndarray  # uint64 [W]
    filter_starts: np.ndarray  # int64 [T + 1]

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name, as they are written."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> "Tables":
        """The tables over arrays that were read."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    def find(self, queries: "Queries", first: int) -> tuple[np.ndarray, np.ndarray]:
        """Every match of the queries, their row k against table `first + k`: the query's column, and the row.

        Both are int64 [matches], in no order that means anything.
        """
        assert first + len(queries.values) < len(self.starts), "one table for each row of queries"
        found: tuple[np.ndarray, np.ndarray] = _find(self._parts(), first, *queries)
        return found

    def _parts(self) -> tuple[np.ndarray, ...]:
        return self.values, self.rows, self.starts, self.filters, self.filter_starts

    def columns(self, first: int, num_rows: int) -> np.ndarray:
        """The tables from `first` on as the columns that they were made of, uint64 [num_rows, tables]."""
        found = np.zeros((num_rows, len(self.starts) - 1 - first), dtype=np.uint64)
        for column in range(found.shape[1]):
            begin, end = self.starts[first + column : first + column + 2]
            found[self.rows[begin:end], column] = self.values[begin:end]
        return found


def build_tables(columns: np.ndarray) -> Tables:
    """Tables of the columns of an array, uint64 [rows, tables]; 0 is no value."""
    found = [build_table(np.ascontiguousarray(columns[:, table])) for table in range(columns.shape[1])]
    values, rows = [own for own, _ in found], [own for _, own in found]
    sizes = np.array([len(own) for own in values], dtype=np.int64)
    filters = [filter_of(own) for own in values]
    return Tables(
        np.concatenate([np.zeros(0, dtype=np.uint64), *values]),
        np.concatenate([np.zeros(0, dtype=np.uint32), *rows]),
        starts_of(sizes),
        np.concatenate([np.zeros(0, dtype=np.uint64), *filters]),
        starts_of(filter_words(sizes)),
    )


def build_table(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One table, of a column of uint64 [rows]: its values in order, and the row of each."""
    assert len(column) < 2**32, "rows are counted in 32 bits"
    own = np.flatnonzero(column)
    order = own[np.argsort(column[own], kind="stable")]
    return column[order], order.astype(np.uint32)


def filter_of(values: np.ndarray) -> np.ndarray:
    """The filter of a table's values, uint64 [words]."""
    sizes = np.array([len(values)], dtype=np.int64)
    found: np.ndarray = _fill(starts_of(sizes), starts_of(filter_words(sizes)), *_mixed(values[None]))
    return found


def filter_words(sizes: np.ndarray) -> np.ndarray:
    """The words of the filters of tables of so many values."""
    return -(-sizes // VALUES_PER_WORD)


def starts_of(sizes: np.ndarray) -> np.ndarray:
    """Where each of several arrays begins when they lie one after the other, and where the last ends, int64 [T + 1]."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


@allocating
def _mixed(values):  # type: ignore[no-untyped-def]
    """Of each value its place in a filter, of 2**32, and its bits there."""
    places, bits = np.empty_like(values), np.empty_like(values)
    for k in range(values.shape[0]):
        for q in range(values.shape[1]):
            mixed = values[k, q] * _SPREAD
            mixed = (mixed ^ (mixed >> _HALF)) * _SPREAD
            mixed ^= mixed >> _HALF
            places[k, q] = mixed >> _HALF
            own = np.uint64(0)
            for shift in _SHIFTS:
                own |= _ONE << ((mixed >> shift) & _SIX_BITS)
            bits[k, q] = own
    return places, bits


@allocating
def _fill(starts, filter_starts, places, bits):  # type: ignore[no-untyped-def]
    filters = np.zeros(filter_starts[-1], dtype=np.uint64)
    for table in range(len(starts) - 1):
        base = filter_starts[table]
        num_words = np.uint64(filter_starts[table + 1] - base)
        for at in range(starts[table], starts[table + 1]):
            filters[base + np.int64((places[0, at] * num_words) >> _HALF)] |= bits[0, at]
    return filters


@allocating
def _find(tables, first, wanted, places, bits):  # type: ignore[no-untyped-def]
    values, rows, starts, filters, filter_starts = tables
    passed = np.empty(wanted.shape[1], dtype=np.int64)
    found = np.empty((2, 64), dtype=np.int64)
    count = 0
    for column in range(wanted.shape[0]):
        begin, end = starts[first + column], starts[first + column + 1]
        words = filters[filter_starts[first + column] : filter_starts[first + column + 1]]
        if begin == end:
            continue
        num_words, num_passed = np.uint64(len(words)), 0
        for query in range(wanted.shape[1]):
            own = bits[column, query]
            passed[num_passed] = query  # without a branch: a processor cannot guess what passes
            num_passed += words[(places[column, query] * num_words) >> _HALF] & own == own
        for query in passed[:num_passed]:
            value = wanted[column, query]
            low, high = begin, end
            while low < high:
                middle = (low + high) // 2
                if values[middle] < value:
                    low = middle + 1
                else:
                    high = middle
            while value != 0 and low < end and values[low] == value:
                if count == found.shape[1]:
                    larger = np.empty((2, 2 * count), dtype=np.int64)
                    for at in range(count):  # a slice would be compiled for seconds: numba brings its errors along
                        larger[0, at], larger[1, at] = found[0, at], found[1, at]
                    found = larger
                found[0, count] = query
                found[1, count] = rows[low]
                count += 1
                low += 1
    return found[0, :count], found[1, :count]
