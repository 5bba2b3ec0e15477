"""Cutting: the record goes, its neighbours keep their bytes, whatever the file is packed in."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from pipelines.edge.forget.cut import Seen, cut, seen
from steps.core.documents import content_hash

ROWS = [{"key": f"k{number}", "text": f"text number {number}"} for number in range(4)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
LEFT = LINES.replace(json.dumps(ROWS[1]).encode() + b"\n", b"")
PACK: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "": (bytes, bytes),
    ".gz": (gzip.compress, gzip.decompress),
    ".bz2": (bz2.compress, bz2.decompress),
    ".xz": (lzma.compress, lzma.decompress),
    ".zst": (zstandard.compress, lambda raw: zstandard.ZstdDecompressor().decompressobj().decompress(raw)),
}


def is_one(record: Seen) -> bool:
    return record.key == "k1"


@pytest.mark.parametrize("packed", PACK)
def test_a_line_goes_and_the_others_keep_their_bytes(packed: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.jsonl{packed}"
    path.write_bytes(PACK[packed][0](LINES))
    went = cut(path, path.name, is_one)
    assert [(record.key, record.line) for record in went] == [("k1", 2)]
    assert PACK[packed][1](path.read_bytes()) == LEFT
    assert cut(path, path.name, is_one) == []
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_row_of_a_table_goes_with_all_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('key,text\nk0,one line\nk1,"two\nlines, of it"\nk2,"and\r\nmore"\n', newline="")
    cut(path, path.name, is_one)
    assert path.read_bytes() == b'key,text\nk0,one line\nk2,"and\r\nmore"\n'


def test_a_row_of_parquet_goes(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{**row, "more": 7} for row in ROWS]), path, row_group_size=3)
    cut(path, path.name, lambda record: record.key in {"k1", "k3"})
    assert pyarrow.parquet.read_table(path).to_pylist() == [{**ROWS[0], "more": 7}, {**ROWS[2], "more": 7}]
    assert b"text number 1" not in path.read_bytes()


def test_a_file_that_is_one_document_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("# A page\n\nwith words")
    assert [record.key for record in cut(path, "docs/page.md", lambda record: record.key == "docs/page.md")]
    assert not path.exists()


def test_a_file_of_nothing_else_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS[1]) + "\n")
    cut(path, path.name, is_one)
    assert not path.exists()


def test_a_file_that_cannot_be_rewritten_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(LINES, mtime=0)[:-4])  # its end was lost
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"cannot be rewritten without them.*add --whole-files"):
        cut(path, path.name, is_one)
    assert path.read_bytes() == before
    assert cut(path, path.name, is_one, whole_files=True)
    assert not path.exists()


def test_a_record_has_the_key_that_ingest_gives_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "no key"}\nno json\n')
    first, second = seen(path, path.name)
    assert first.key == first.content == content_hash("no key")
    assert (second.key, second.text) == (None, "no json")
