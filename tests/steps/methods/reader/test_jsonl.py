import gzip
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from steps.methods.reader import Record, Rejected, reader_for
from steps.methods.reader.jsonl import Jsonl


def read(tmp_path: Path, content: bytes, **knobs: int) -> list[Record | Rejected]:
    file = tmp_path / "file.jsonl"
    file.write_bytes(content)
    return list(Jsonl(**knobs).read(file, file.name))


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


def test_gzip_is_recognised_by_its_bytes_and_may_have_several_members(tmp_path: Path) -> None:
    content = gzip.compress(b'{"text": "a"}\n') + gzip.compress(b'{"text": "b"}\n') + b"\0" * 9
    assert read(tmp_path, content) == [Record(line=1, text="a"), Record(line=2, text="b")]


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


def test_the_reader_is_chosen_by_suffix_and_else_by_the_first_byte() -> None:
    assert [reader_for(name, b"") for name in ("a.jsonl.gz", "a.JSON", "a.md", "a.txt.gz")] == [
        *["jsonl"] * 2,
        *["text"] * 2,
    ]
    assert [reader_for("a", head) for head in (b"\xef\xbb\xbf \n{", b"hello", b"")] == ["jsonl", "text", "text"]
