"""The index: what accepted refreshes keep, by key, by content, and by what is nearly the same.

It lies in immutable segments, the oldest first. A segment is `index.jsonl` for people (rows `{key, task, content_hash}`
or `{key, task, removed: true}`; a later row of a key wins) and `tables.safetensors` for looking up: the offset of each
row, the fingerprints of its key and content, and sorted tables of both and of each band. A batch is looked up in every
segment, so a refresh costs what is new; nothing is read whole but by `items` and `keys`.
"""

import io
import logging
import mmap
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import orjson

from steps.core.columns import Columns
from steps.core.lookup import Queries, Tables, build_table, filter_of, filter_words, fingerprints, starts_of
from steps.core.shards import atomic, canonical_json, read_lines
from steps.core.state import Entry

logger = logging.getLogger(__name__)

ROWS, TABLES = "index.jsonl", "tables.safetensors"
KEYS, CONTENTS, BANDS = 0, 1, 2  # the tables of a segment: keys, contents, then one for each band
FORMAT = 1
AT_ONCE = 10_000  # rows that are written at a time
KINDS: dict[str, np.dtype[Any]] = {"U64": np.dtype(np.uint64), "I64": np.dtype(np.int64), "U32": np.dtype(np.uint32)}
_NONE = np.iinfo(np.int64).max


class IndexRow(NamedTuple):
    """One row of a segment; without a content hash: the key is removed."""

    key: str
    task: str
    content_hash: str | None = None


def write_index(folder: Path, rows: Iterable[IndexRow], bands: np.ndarray | Columns | None, settings: str) -> None:
    """Write a segment; the same rows give the same bytes. Of each row some 40 bytes are held, and one table at a time.

    `bands` is uint64 [rows, K], one row for each row given, of a removed one zeros; 0 is no bucket. `settings` is a
    digest of what decides the buckets.
    """
    left, prints, sizes = iter(rows), [_prints([])], array("q", [0])
    with atomic(folder / ROWS) as file:
        while portion := list(islice(left, AT_ONCE)):
            lines = [f"{canonical_json(_written(row))}\n".encode() for row in portion]
            file.writelines(lines)
            sizes.extend(len(line) for line in lines)
            prints.append(_prints(portion))
    offsets = np.cumsum(np.frombuffer(sizes, dtype=np.int64))
    with atomic(folder / TABLES) as file:
        _write_tables(file, np.concatenate(prints), offsets, bands, settings)


def read_index(folder: Path) -> tuple[list[IndexRow], np.ndarray | None, str]:
    """A segment as `write_index` takes it."""
    part = _Part(folder)
    rows = [_row(row) for row in read_lines(folder / ROWS)]
    return rows, part.tables.columns(BANDS, len(rows)) if part.num_bands else None, part.settings


class OpenIndex:
    """The index over its segments, each mapped into memory; of an old segment without tables they are made here."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._parts = [_Part(folder) for folder in folders]

    def settings(self) -> set[str]:
        """The settings of the segments that hold documents; of one without bands the empty string."""
        return {part.settings for part in self._parts if part.num_documents}

    def entries(self, keys: Sequence[str]) -> list[Entry | None]:
        """The newest state of each key; none: absent, or removed."""
        found: list[Entry | None] = []
        for key, place in zip(keys, self._newest(fingerprints(keys)).tolist(), strict=True):
            row = None if place == _NONE else self._at(place)
            assert row is None or row.key == key, f"{key}: has the fingerprint of {row}"
            found.append(None if row is None or row.content_hash is None else Entry(row.task, row.content_hash))
        return found

    def owners(self, content_hashes: Sequence[str], without: Collection[str] = ()) -> list[str | None]:
        """The key of the oldest current document with each content; keys in `without` count as removed."""
        wanted = fingerprints(content_hashes)
        values = Queries.of(wanted[None, :, 0])
        queries, places = [], []
        for number, part in enumerate(self._parts):
            query, row = part.tables.find(values, CONTENTS)
            same = part.prints[row, 3] == wanted[query, 1]
            queries.append(query[same])
            places.append(_place(number, row[same]))
        return self._oldest(len(wanted), queries, places, without)

    def near(self, bands: np.ndarray, without: Collection[str] = ()) -> list[str | None]:
        """The key of the oldest current document that shares a bucket, in the same column, with each row.

        Bands are uint64 [N, K], 0 is no bucket. Keys in `without` count as removed.

        Raises:
            ValueError: a segment was made with another number of bands.
        """
        num_bands = bands.shape[1]
        values, none = Queries.of(bands.T), Queries.of(np.zeros((0, len(bands)), dtype=np.uint64))
        queries, places = [], []
        for number, part in enumerate(self._parts):
            if part.num_bands not in {0, num_bands}:
                raise ValueError(f"{part.folder}: wanted {num_bands} bands, found {part.num_bands}; rebuild the index")
            query, row = part.tables.find(values if part.num_bands else none, BANDS)
            queries.append(query)
            places.append(_place(number, row))
        return self._oldest(len(bands), queries, places, without)

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Every current key with its entry, oldest first; reads all of the index."""
        for number, part in enumerate(self._parts):
            places = _place(number, np.arange(len(part.prints)))
            current = self._newest(np.ascontiguousarray(part.prints[:, :2])) == places
            for row in np.flatnonzero(current).tolist():
                found = part.read(row)
                if found.content_hash is not None:
                    yield found.key, Entry(found.task, found.content_hash)

    def keys(self) -> Iterator[str]:
        """Every current key, oldest first; reads all of the index."""
        return (key for key, _ in self.items())

    def _newest(self, wanted: np.ndarray) -> np.ndarray:
        """The place of the newest row of each key, int64 [N], from its fingerprint."""
        found = np.full(len(wanted), _NONE)
        open_ = np.arange(len(wanted))
        for number in reversed(range(len(self._parts))):
            part = self._parts[number]
            query, row = part.tables.find(Queries.of(wanted[None, open_, 0]), KEYS)
            same = part.prints[row, 1] == wanted[open_[query], 1]
            if same.any():
                last = np.full(len(open_), -1)
                np.maximum.at(last, query[same], row[same])  # a later row of the segment wins
                found[open_[last >= 0]] = _place(number, last[last >= 0])
                open_ = open_[last < 0]
        return found

    def _oldest(
        self, count: int, queries: list[np.ndarray], places: list[np.ndarray], without: Collection[str]
    ) -> list[str | None]:
        """The key at the lowest current place of each query."""
        query = np.concatenate([np.zeros(0, dtype=np.int64), *queries])
        place, which = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *places]), return_inverse=True)
        prints = np.zeros((len(place), 2), dtype=np.uint64)
        for number, part in enumerate(self._parts):
            own = place >> 32 == number
            prints[own] = part.prints[place[own] & 0xFFFFFFFF, :2]
        current = self._newest(prints) == place
        if without:
            gone = fingerprints(without)
            current &= ~np.isin(prints[:, 0], gone[:, 0])  # 64 bits do: at worst one twin more is kept
        oldest = np.full(count, _NONE)
        alive = current[which]
        np.minimum.at(oldest, query[alive], place[which][alive])
        keys = {it: self._at(it).key for it in np.unique(oldest).tolist() if it != _NONE}
        return [keys.get(it) for it in oldest.tolist()]

    def _at(self, place: int) -> IndexRow:
        return self._parts[place >> 32].read(place & 0xFFFFFFFF)


class _Part:
    """One segment, mapped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / TABLES
        if path.exists():
            with path.open("rb") as file:
                content: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        else:
            logger.warning("%s: an index without tables; they are made in memory, at each opening", folder)
            rows = [_row(row) for row in read_lines(folder / ROWS)]
            made = io.BytesIO()
            _write_tables(made, _prints(rows), _offsets(folder / ROWS), None, "")
            content = made.getvalue()
        arrays, facts = _parse(content)
        self.tables = Tables.of(arrays)
        self.offsets, self.prints = arrays["offsets"], arrays["prints"]
        self.settings = str(facts["settings"])
        self.num_bands = len(self.tables.starts) - 1 - BANDS
        self.num_documents = int(self.tables.starts[CONTENTS + 1] - self.tables.starts[CONTENTS])

    @cached_property
    def _lines(self) -> mmap.mmap:
        with (self.folder / ROWS).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def read(self, row: int) -> IndexRow:
        return _row(orjson.loads(self._lines[int(self.offsets[row]) : int(self.offsets[row + 1])]))


def _written(row: IndexRow) -> dict[str, Any]:
    gone = row.content_hash is None
    return {"key": row.key, "task": row.task, **({"removed": True} if gone else {"content_hash": row.content_hash})}


def _row(row: dict[str, Any]) -> IndexRow:
    return IndexRow(row["key"], row["task"], None if row.get("removed") else row["content_hash"])


def _place(number: int, rows: np.ndarray) -> np.ndarray:
    """Where a row stands in the index: a lower place is older."""
    return (number << 32) + rows.astype(np.int64)


def _offsets(path: Path) -> np.ndarray:
    """The byte at which each line of a file begins, and its end, int64 [N + 1]."""
    if not path.exists() or path.stat().st_size == 0:
        return np.zeros(1, dtype=np.int64)
    ends = np.flatnonzero(np.memmap(path, dtype=np.uint8, mode="r") == ord("\n"))
    return np.concatenate([[0], ends + 1]).astype(np.int64)


def _prints(rows: Sequence[IndexRow]) -> np.ndarray:
    """The fingerprints of keys and contents, uint64 [rows, 4]; those of no content are 0."""
    prints = np.zeros((len(rows), 4), dtype=np.uint64)
    kept = np.array([row.content_hash is not None for row in rows], dtype=bool)
    prints[:, :2] = fingerprints(row.key for row in rows)
    prints[kept, 2:] = fingerprints(row.content_hash for row in rows if row.content_hash is not None)
    return prints


def _write_tables(
    file: BinaryIO, prints: np.ndarray, offsets: np.ndarray, bands: np.ndarray | Columns | None, settings: str
) -> None:
    """Write the bytes of `tables.safetensors`, as `safetensors` would, one table at a time."""
    buckets = Columns.of(np.zeros((len(prints), 0), dtype=np.uint64) if bands is None else bands)
    assert len(buckets) == len(prints) == len(offsets) - 1, f"{len(buckets):,} rows of bands for {len(prints):,} rows"
    gone = prints[:, 2] == 0

    def column(table: int) -> np.ndarray:
        if table < BANDS:
            return np.ascontiguousarray(prints[:, 2 * table])
        found = buckets.column(table - BANDS)
        assert found.dtype == np.uint64, f"buckets are 64 bits, found {found.dtype}"
        found[gone] = 0
        return found

    num_tables = BANDS + buckets.num_columns
    sizes = np.array([np.count_nonzero(column(table)) for table in range(num_tables)], dtype=np.int64)
    starts, filter_starts = starts_of(sizes), starts_of(filter_words(sizes))
    shapes = {  # the widest types first, then by name
        "filters": ("U64", (int(filter_starts[-1]),)),
        "prints": ("U64", prints.shape),
        "values": ("U64", (int(starts[-1]),)),
        "filter_starts": ("I64", filter_starts.shape),
        "offsets": ("I64", offsets.shape),
        "starts": ("I64", starts.shape),
        "rows": ("U32", (int(starts[-1]),)),
    }
    begins, end = {}, 0
    facts = canonical_json({"format": FORMAT, "settings": settings})
    header: dict[str, Any] = {"__metadata__": {"index": facts}}
    for name, (kind, shape) in shapes.items():
        begins[name], end = end, end + KINDS[kind].itemsize * int(np.prod(shape))
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begins[name], end]}
    written = orjson.dumps(header)
    written += b" " * (-len(written) % 8)
    file.write(len(written).to_bytes(8, "little") + written)

    def put(name: str, values: np.ndarray, at: int = 0) -> None:
        file.seek(8 + len(written) + begins[name] + at * values.itemsize)
        file.write(values.tobytes())

    put("prints", prints)
    put("filter_starts", filter_starts)
    put("offsets", offsets)
    put("starts", starts)
    for table in range(num_tables):
        values, rows = build_table(column(table))
        put("values", values, int(starts[table]))
        put("rows", rows, int(starts[table]))
        put("filters", filter_of(values), int(filter_starts[table]))


def _parse(content: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a safetensors file where they lie, without a copy, and its facts."""
    size = int.from_bytes(content[:8], "little")
    header = orjson.loads(content[8 : 8 + size])
    facts = orjson.loads(header.pop("__metadata__")["index"])
    assert facts["format"] == FORMAT, f"an index of format {facts['format']}; this version reads {FORMAT}"
    arrays = {}
    for name, about in header.items():
        begin, end = about["data_offsets"]
        kind = KINDS[about["dtype"]]
        raw = np.frombuffer(content, kind, (end - begin) // kind.itemsize, 8 + size + begin)
        arrays[name] = raw.reshape(about["shape"])
    return arrays, facts
