import bz2
import gzip
import io
import json
import lzma
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from steps.methods.reader import Record, Rejected, reader_for
from steps.methods.reader.jsonl import Jsonl


def read(tmp_path: Path, content: bytes, **knobs: int) -> list[Record | Rejected]:
    file = tmp_path / "file.jsonl"
    file.write_bytes(content)
    return list(Jsonl(**knobs).read(file, file.name))


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("file.jsonl", content)
    return stream.getvalue()


def reasons(found: list[Record | Rejected]) -> Iterator[str]:
    return (one.reason for one in found if isinstance(one, Rejected))


def test_a_full_row_is_read_and_other_fields_are_ignored(tmp_path: Path) -> None:
    row = {"id": 7, "text": "hi", "source": "s", "language": "en", "time": "2020-01-01", "license": "MIT", "score": 3}
    assert read(tmp_path, json.dumps(row).encode()) == [
        Record(line=1, text="hi", key="7", source="s", language="en", time="2020-01-01", licence="MIT")
    ]


def test_null_fields_are_absent_and_blank_lines_are_no_records(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"text": "a", "key": null}\r\n\n  \n{"text": "b", "text": "c"}'
    assert read(tmp_path, content) == [Record(line=1, text="a"), Record(line=4, text="c")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "invalid-json"),
        (b"[1]", "not-an-object"),
        (b"{}", "missing-text"),
        (b'{"text": null}', "null-text"),
        (b'{"text": 3}', "wrong-type-text"),
        (b'{"text": " "}', "empty-text"),
        (b'{"text": "a", "key": true}', "wrong-type-key"),
        (b'{"text": "a", "time": 3}', "wrong-type-time"),
        (b'{"text": "a", "score": NaN}', "not-finite"),
        (b'{"text": "a", "score": -Infinity}', "not-finite"),
        (b'{"text": "\xff"}', "invalid-utf-8"),
        (b'{"text": "\\ud800"}', "lone-surrogate"),
        (b"[" * 100_000, "nested-too-deep"),
        (b'{"text": ' + b"1" * 5000 + b"}", "invalid-json"),
    ],
)
def test_a_bad_line_costs_only_itself(tmp_path: Path, line: bytes, reason: str) -> None:
    found = read(tmp_path, b'{"text": "before"}\n' + line + b'\n{"text": "after"}\n')
    assert [type(one).__name__ for one in found] == ["Record", "Rejected", "Record"]
    assert (list(reasons(found)), found[1].line) == ([reason], 2)


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    assert read(tmp_path, b"") == [Rejected(1, "empty-file", "")]


def test_binary_junk_is_one_rejected_record(tmp_path: Path) -> None:
    assert list(reasons(read(tmp_path, b"\x7fELF\0\0\n\n\xff\n"))) == ["binary"]


PACKED = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}


@pytest.mark.parametrize("codec", PACKED)
def test_what_is_packed_is_recognised_by_its_bytes_and_may_have_several_members(tmp_path: Path, codec: str) -> None:
    pack = PACKED[codec]
    content = pack(b'{"text": "a"}\n') + pack(b"") + pack(b'{"text": "b"}\n') + b"\0" * 8
    assert read(tmp_path, content) == [Record(line=1, text="a"), Record(line=2, text="b")]


@pytest.mark.parametrize("codec", PACKED)
def test_a_packed_file_that_ends_early_or_is_corrupt_is_told(tmp_path: Path, codec: str) -> None:
    whole = PACKED[codec](b"".join(b'{"text": "%d"}\n' % (number * 7919) for number in range(3000)))
    assert list(reasons(read(tmp_path, whole[:-9]))) == [f"truncated-{codec}"]
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    assert f"damaged-{codec}" in list(reasons(read(tmp_path, bytes(flipped))))


@pytest.mark.parametrize("codec", PACKED)
def test_a_bomb_ends_soon_after_it_grows_too_much_and_the_lines_before_it_are_kept(tmp_path: Path, codec: str) -> None:
    file = tmp_path / "bomb.jsonl"
    file.write_bytes(PACKED[codec](b'{"text": "before"}\n' + b" " * 100_000_000))
    tracemalloc.start()
    found = list(Jsonl(max_expansion=20).read(file, file.name))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[0] == Record(line=1, text="before")
    assert list(reasons(found)) == ["line-too-long", "expands-too-much"]
    assert peak < 100 * 2**20


@pytest.mark.parametrize(
    "inner",
    [gzip.compress(b"{}"), zipped(b"{}"), b"\xfd7zXZ\0", b"7z\xbc\xaf'\x1c"],
    ids=["gzip", "zip", "xz", "7z"],  # names of their own: bytes with a time in them would change
)
def test_a_packed_file_in_a_packed_file_and_an_archive_are_not_opened(tmp_path: Path, inner: bytes) -> None:
    assert list(reasons(read(tmp_path, gzip.compress(inner)))) == ["nested-archive"]
    assert list(reasons(read(tmp_path, zipped(b"{}")))) == ["archive"]


@pytest.mark.parametrize("cut", [1, 9, 2000, 12_000])
def test_of_a_truncated_gzip_every_whole_line_before_the_damage_is_kept(tmp_path: Path, cut: int) -> None:
    lines = [json.dumps({"text": f"{number * 7919 % 100_003} words"}) for number in range(5000)]
    whole = gzip.compress("\n".join(lines).encode())
    found = read(tmp_path, whole[:-cut])
    records = [one for one in found if isinstance(one, Record)]
    assert [one.text for one in records] == [json.loads(line)["text"] for line in lines[: len(records)]]
    assert list(reasons(found)) == ["truncated-gzip"]
    assert len(records) > (4990 if cut < 10 else 100)


def test_a_corrupt_gzip_is_told_from_a_truncated_one(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(b'{"text": "a"}\n' * 100))
    whole[-8] ^= 0xFF  # the checksum
    assert list(reasons(read(tmp_path, bytes(whole)))) == ["damaged-gzip"]


def test_a_line_of_50_megabytes_is_rejected_without_being_held(tmp_path: Path) -> None:
    file = tmp_path / "long.jsonl"
    file.write_bytes(b'{"text": "' + b"x" * 50_000_000 + b'"}\n{"text": "next"}\n')
    tracemalloc.start()
    found = list(Jsonl(max_line_bytes=2**20).read(file, file.name))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[0] == Rejected(1, "line-too-long", '{"text": "' + "x" * 110)
    assert found[1] == Record(line=2, text="next")
    assert peak < 8 * 2**20


def test_a_line_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    line = b'{"text": "' + b"x" * 1012 + b'"}'
    assert len(line) == 1024
    assert len(read(tmp_path, line + b"\n" + line, max_line_bytes=1024)) == 2
    assert list(reasons(read(tmp_path, line + b" \n" + line, max_line_bytes=1024))) == ["line-too-long"]


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"prompt": "Why?", "completion": "So.", "text": "other"}, [("prompt", "Why?"), ("completion", "So.")]),
        ({"prompt": "", "completion": "So."}, [("prompt", ""), ("completion", "So.")]),
        (
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho", "weight": 1}]},
            [("user", "Hi"), ("assistant", "Ho")],
        ),
    ],
)
def test_a_labelled_row_says_its_turns_joined_by_blank_lines(
    tmp_path: Path, row: dict[str, object], turns: list[tuple[str, str]]
) -> None:
    text = "\n\n".join(content for _, content in turns)
    assert read(tmp_path, json.dumps(row).encode()) == [Record(line=1, text=text, messages=tuple(turns))]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Why?"}, "missing-text"),
        ({"prompt": 3, "completion": "So."}, "wrong-type-prompt"),
        ({"prompt": "Why?", "completion": ["So."]}, "wrong-type-completion"),
        ({"prompt": "Why?", "completion": " "}, "empty-completion"),
        ({"messages": "Hi"}, "wrong-type-messages"),
        ({"messages": []}, "empty-messages"),
        ({"messages": [{"role": "user"}]}, "wrong-type-messages"),
        ({"messages": [{"role": "user", "content": " "}]}, "empty-text"),
        ({"messages": [{"role": "\ud800", "content": "Hi"}]}, "lone-surrogate"),
    ],
)
def test_a_labelled_row_that_is_none_is_rejected(tmp_path: Path, row: dict[str, object], reason: str) -> None:
    assert list(reasons(read(tmp_path, json.dumps(row).encode()))) == [reason]


def test_a_prompt_beside_a_text_is_another_field(tmp_path: Path) -> None:
    assert read(tmp_path, b'{"text": "a", "prompt": "b", "completion": null}') == [Record(line=1, text="a")]


def test_the_reader_is_chosen_by_suffix() -> None:
    names = ["a.jsonl.gz", "a.JSON", "a.md", "a.txt.zst", "a.tsv.bz2", "a.htm", "b/a.rst.xz", "a.pdf", "a.arrow"]
    assert [reader_for(name, b"%PDF-") for name in [*names, "a.parquet"]] == [
        *["jsonl", "jsonl", "markdown", "text", "csv", "html", "rst", "pdf", "datasets", "parquet"]
    ]


@pytest.mark.parametrize(
    ("head", "reader"),
    [
        (b"\xef\xbb\xbf \n{", "jsonl"),
        (b"hello", "text"),
        (b"", "text"),
        (b"PAR1..", "parquet"),
        (b"\xff\xff\xff\xff\x10", "datasets"),
        (b"%PDF-1.4", "pdf"),
        (b"\n<!DOCTYPE HTML>", "html"),
        (b"<html>", "html"),
    ],
)
def test_without_a_suffix_it_is_chosen_by_how_the_file_begins(head: bytes, reader: str) -> None:
    assert reader_for("a", head) == reader
    assert reader_for("notes.2026", head) == reader


def test_what_datasets_writes_beside_its_files_is_told_from_records() -> None:
    assert reader_for("ds/state.json", b'{\n  "_data_files": [') == "datasets"
    assert reader_for("ds/state.json", b'{"text": "of the union"}') == "jsonl"
