from pathlib import Path

import pytest

from steps.methods.reader import Record, Rejected
from steps.methods.reader.csv import Csv


def read(tmp_path: Path, content: bytes, name: str = "table.csv", **knobs: int) -> list[Record | Rejected]:
    file = tmp_path / name
    file.write_bytes(content)
    return list(Csv(**knobs).read(file, name))


def seen(found: list[Record | Rejected]) -> list[tuple[int, str]]:
    return [(one.line, one.text if isinstance(one, Record) else one.reason) for one in found]


def test_columns_are_named_by_the_first_row_and_empty_cells_are_absent(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfID, Text ,language,other\n7,"a, ""b""\r\nc",en,x\n\n8,d,,\n'
    assert read(tmp_path, content) == [
        Record(line=2, text='a, "b"\nc', key="7", language="en"),
        Record(line=5, text="d", key="8"),
    ]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_most_frequent_of_the_first_line(tmp_path: Path, mark: str) -> None:
    content = f"id{mark}text\n1{mark}a b\n".encode()
    assert read(tmp_path, content) == [Record(line=2, text="a b", key="1")]
    assert read(tmp_path, b"text\ta,b,c\nx\ty\n", "table.tsv.gz") == [Record(line=2, text="x")]


def test_rows_may_be_labelled(tmp_path: Path) -> None:
    found = read(tmp_path, b"prompt,completion\nWhy?,So.\n")
    assert found == [Record(2, "Why?\n\nSo.", messages=(("prompt", "Why?"), ("completion", "So.")))]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"1", "wrong-number-of-fields"),
        (b"1,2,3", "wrong-number-of-fields"),
        (b"1,", "empty-text"),
        (b"1,\xff", "invalid-utf-8"),
        (b'1,"a"b', "invalid-csv"),
        (b"1,a\rb", "invalid-csv"),
        (b"1," + b"x" * 2000, "line-too-long"),
    ],
)
def test_a_bad_row_costs_only_itself(tmp_path: Path, row: bytes, reason: str) -> None:
    found = read(tmp_path, b"id,text\n0,before\n" + row + b"\n2,after\n", max_line_bytes=1024)
    assert seen(found) == [(2, "before"), (3, reason), (4, "after")]


def test_a_quote_that_is_never_closed_costs_its_own_line(tmp_path: Path) -> None:
    found = read(tmp_path, b'id,text\n1,"open\n2,b\n3,c')
    assert seen(found) == [(2, "invalid-csv"), (3, "b"), (4, "c")]


def test_quotes_that_stay_open_again_and_again_do_not_take_ever_longer(tmp_path: Path) -> None:
    content = b"id,text\n" + b'a","b\n' * 20_000  # read from any line, the quote stays open to the end
    found = read(tmp_path, content)
    assert seen(found) == [(line, "invalid-csv") for line in range(2, 20_002)]


@pytest.mark.parametrize("content", [b"", b"id,text\n", b"\n\n"])
def test_a_table_without_rows_is_said_to_be_empty(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path, content) == [Rejected(1, "empty-file", "")]


def test_binary_junk_is_one_rejected_record(tmp_path: Path) -> None:
    assert seen(read(tmp_path, b"a,b\n\0")) == [(1, "binary")]
