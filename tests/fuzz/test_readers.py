"""Arbitrary and mutated bytes: readers raise nothing, lose nothing, and answer the same twice."""

import bz2
import gzip
import json
import lzma
import random
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.core.method import load_method, method_names
from steps.methods.reader import PACKED, Record, Rejected, reader_for
from steps.methods.reader._guard import GuardedReader
from steps.methods.reader._shared import head
from tests.steps.methods.reader.test_html import PAGE
from tests.steps.methods.reader.test_pdf import pdf

READERS = method_names("reader")
ONE_DOCUMENT = ("text", "markdown", "html", "pdf", "rst")
TIGHT = {"max_cpu_seconds": 10, "max_memory_bytes": 2**28}
QUICK = settings(max_examples=60, deadline=None, derandomize=True, database=None)
DEEP = settings(QUICK, max_examples=1500)
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}
ROWS = [{"id": str(row), "text": f"row {row} says something", "licence": "MIT"} for row in range(40)]
ROWS += [{"prompt": "Why?", "completion": "So."}, {"messages": [{"role": "user", "content": "Hi"}]}]
RST = "Title\n=====\n\n* a\n* b\n\n.. note:: *c*\n\n+--+--+\n| a| b|\n+--+--+\n\n:f:`x` |y| z_ [1]_\n\n::\n\n  d\n"


@cache
def seed(name: str) -> bytes:
    """A sound file of each format, to be mutated."""
    table = pyarrow.table({"text": [row.get("text") for row in ROWS], "id": [row.get("id") for row in ROWS]})
    sink = pyarrow.BufferOutputStream()
    if name == "parquet":
        pyarrow.parquet.write_table(table, sink, row_group_size=10)
    elif name == "datasets":
        with pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=10)
    plain: dict[str, bytes] = {
        "jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
        "csv": ('id,text\n1,"a ""b""\nc"\n' + "".join(f"{row},words\n" for row in range(30))).encode(),
        "text": "Words.\nÄ.\n".encode(),
        "markdown": b"---\nlang: en\ndate: 2024-05-06\n---\n# Title\n\nText.\n",
        "html": PAGE.encode(),
        "pdf": pdf("One line\nand another", "Second page"),
        "rst": RST.encode(),
    }
    return plain[name] if name in plain else sink.getvalue().to_pybytes()


@st.composite
def mutated(draw: st.DrawFn, name: str) -> bytes:
    """A sound file after a few accidents."""
    content = bytearray(seed(name))
    for _ in range(draw(st.integers(0, 6))):
        begin = draw(st.integers(0, len(content)))
        end = min(len(content), begin + draw(st.integers(0, 64)))
        match draw(st.integers(0, 4)):
            case 0:
                content[begin:end] = draw(st.binary(max_size=16))
            case 1:
                del content[begin:end]
            case 2:
                content[end:end] = content[begin:end] * draw(st.integers(1, 50))
            case 3:
                del content[end:]
            case _:
                for place in range(begin, min(begin + 4, len(content))):
                    content[place] ^= draw(st.integers(1, 255))
    return bytes(content)


def packed(contents: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[bytes, str]]:
    """What a strategy gives, at times packed, and then perhaps cut."""

    def pack(content: bytes, suffix: str, kept: float) -> tuple[bytes, str]:
        whole = PACKERS[suffix](content)
        return whole[: round(len(whole) * kept)], suffix

    plain = st.tuples(contents, st.just(""))
    return plain | st.builds(pack, contents, st.sampled_from(sorted(PACKERS)), st.sampled_from([1.0, 1.0, 0.99, 0.5]))


def read(name: str, content: bytes, suffix: str = "") -> list[Record | Rejected]:
    method: Any = load_method("reader", name)
    reader = method(max_line_bytes=2**16, **(TIGHT if issubclass(method, GuardedReader) else {}))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"file{suffix}"
        file.write_bytes(content)
        assert reader_for(file.name, head(file)) in READERS
        return list(reader.read(file, file.name))


def is_accounted_for(name: str, content: bytes, suffix: str) -> None:
    found = read(name, content, suffix)
    assert found == read(name, content, suffix)
    assert found, "a file without records says so"
    assert [one.line for one in found] == sorted(one.line for one in found)
    for one in found:
        if isinstance(one, Record):
            assert one.text.strip()
            "".join([one.text, *filter(None, (one.key, one.language, one.time, one.licence, one.source))]).encode()
        else:
            assert one.reason
            assert one.excerpt.isprintable()
    if name in ONE_DOCUMENT:
        assert len(found) == 1


@pytest.mark.parametrize("name", READERS)
def test_a_file_without_accidents_is_read(name: str) -> None:
    found = read(name, seed(name))
    assert len([one for one in found if isinstance(one, Record)]) >= (1 if name in ONE_DOCUMENT else 30)


@pytest.mark.parametrize("name", READERS)
def test_readers_raise_nothing_and_lose_nothing(name: str) -> None:
    @QUICK
    @given(packed(st.binary(max_size=300) | mutated(name)))
    def holds(given_file: tuple[bytes, str]) -> None:
        is_accounted_for(name, *given_file)

    holds()


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", READERS)
def test_readers_raise_nothing_and_lose_nothing_however_long_one_looks(name: str) -> None:
    @DEEP
    @given(packed(st.binary(max_size=3000) | mutated(name)))
    def holds(given_file: tuple[bytes, str]) -> None:
        is_accounted_for(name, *given_file)

    holds()


LINES = st.sampled_from(ROWS).map(lambda row: json.dumps(row).encode()) | st.binary(max_size=80) | st.just(b"  ")


@QUICK
@given(st.lists(LINES, min_size=1, max_size=30), st.sampled_from(sorted(PACKERS)))
def test_every_line_that_is_not_blank_is_exactly_one_answer(lines: list[bytes], suffix: str) -> None:
    whole = b"\n".join(lines).replace(b"\0", b"0")
    content = b"-\n" + whole  # so that it begins like nothing else
    wanted = [number for number, line in enumerate(content.split(b"\n"), start=1) if line.strip()]
    assert [one.line for one in read("jsonl", PACKERS[suffix](content), suffix)] == wanted


@QUICK
@given(st.lists(st.text(alphabet='ab,"\n\r ', max_size=12), min_size=1, max_size=30))
def test_every_row_of_a_sound_table_is_exactly_one_answer(texts: list[str]) -> None:
    rows = "".join(f'{number},"{text.replace(chr(34), chr(34) * 2)}"\n' for number, text in enumerate(texts))
    found = read("csv", f"id,text\n{rows}".encode())
    said = [one.text if isinstance(one, Record) else one.reason for one in found]
    wanted = [text.replace("\r\n", "\n") if text.strip() else "empty-text" for text in texts]
    assert said == wanted


def test_every_way_of_packing_is_tried() -> None:
    assert {*PACKED, ""} == PACKERS.keys()


Bomb = tuple[str, Callable[[], bytes], str]
BOMBS: dict[str, Bomb] = {  # reader, content, how the last record ends; no reason: it is a document
    "a line of 100 MB": ("jsonl", lambda: b'{"text": "' + b"x" * 100_000_000, "line-too-long"),
    "deep JSON": ("jsonl", lambda: b'{"text": "a", "x": ' + b'{"a":[' * 2_000_000, "nested-too-deep"),
    "deep HTML": ("html", lambda: b"<html><body>" + b"<div><span>" * 1_000_000, "no-main-text"),
    "tables in tables": ("html", lambda: b"<html><body>" + b"<table><tr><td>" * 500_000, "no-main-text"),
    "attributes without end": ("html", lambda: b"<html><body><p " + b"a=b " * 2_000_000, "no-main-text"),
    "entities": ("html", lambda: b"<html><body><p>" + b"&amp;" * 2_000_000, ""),
    "open quotes": ("csv", lambda: b"id,text\n" + b'a","b\n' * 500_000, "invalid-csv"),
    "columns without end": ("csv", lambda: b"," * 10_000_000 + b"\n" + b"," * 10_000_000, "missing-text"),
    "lists in lists": ("rst", lambda: b"- " * 500_000, "nested-too-deep"),
    "references": ("rst", lambda: b"a_ " * 500_000, "too-much-time"),
    "front matter of brackets": ("markdown", lambda: b"---\nlang: " + b"[" * 5_000_000, ""),
    "fences": ("markdown", lambda: b"---\n" * 2_000_000, ""),
    "noise": ("pdf", lambda: b"%PDF-1.7\n" + random.Random(20).randbytes(2_000_000), "damaged-pdf"),
    "objects": ("pdf", lambda: b"%PDF-1.7\n" + b"1 0 obj << /Kids [1 0 R] >> endobj\n" * 200_000, "damaged-pdf"),
    "pages in pages": ("pdf", lambda: pdf("One").replace(b"/Kids [4 0 R]", b"/Kids [2 0 R]"), "damaged-pdf"),
    "a page count": ("pdf", lambda: pdf("One").replace(b"/Count 1", b"/Count 999999999"), ""),
    "a gzip bomb": ("jsonl", lambda: gzip.compress(bytes(300_000_000)), "binary"),
    "a gzip bomb of blank lines": ("jsonl", lambda: gzip.compress(b"\n" * 300_000_000), "expands-too-much"),
    "a bzip2 bomb": ("text", lambda: bz2.compress(b"a" * 300_000_000), "file-too-long"),
    "a gzip bomb of HTML": ("html", lambda: gzip.compress(b"<p>" * 100_000_000), "file-too-long"),
    "gzip in gzip": ("jsonl", lambda: gzip.compress(gzip.compress(bytes(10**7))), "nested-archive"),
    "members without end": ("text", lambda: gzip.compress(b"") * 200_000, "empty-file"),
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_end_with_a_reason(bomb: str, tmp_path: Path) -> None:
    name, content, reason = BOMBS[bomb]
    file = tmp_path / "bomb"
    file.write_bytes(content())
    method: Any = load_method("reader", name)
    reader = method(**({"max_cpu_seconds": 20} if issubclass(method, GuardedReader) else {}))
    for last in reader.read(file, file.name):
        assert isinstance(last, Rejected) or len(last.text) <= 16 * 2**20
    assert getattr(last, "reason", "") == reason
