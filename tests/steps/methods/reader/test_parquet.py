from datetime import date
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from steps.methods.reader import Record, Rejected, _guard
from steps.methods.reader.parquet import Parquet
from steps.methods.reader.pdf import Pdf


def read(tmp_path: Path, table: Any, **knobs: int) -> list[Record | Rejected]:
    file = tmp_path / "table.parquet"
    if isinstance(table, bytes):
        file.write_bytes(table)
    else:
        pyarrow.parquet.write_table(pyarrow.table(table), file, row_group_size=100)
    return list(Parquet(**knobs).read(file, file.name))


def test_rows_are_numbered_over_the_groups_and_other_columns_are_not_read(tmp_path: Path) -> None:
    table = {"id": range(250), "text": [f"row {row}" for row in range(250)], "score": [0.5] * 250}
    found = read(tmp_path, table)
    assert found == [Record(line=row + 1, text=f"row {row}", key=str(row)) for row in range(250)]


def test_dates_and_labelled_rows_are_taken_as_they_are(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    found = read(tmp_path, {"messages": [turns, None], "time": [date(2024, 5, 6), None], "text": ["x", "y"]})
    assert found == [
        Record(1, "Hi\n\nHo", time="2024-05-06", messages=(("user", "Hi"), ("assistant", "Ho"))),
        Record(2, "y"),
    ]


def test_a_bad_row_costs_only_itself(tmp_path: Path) -> None:
    text = pyarrow.array([b"before", b"\xff", None, b" ", b"x" * 2000, b"after"]).view(pyarrow.string())
    found = read(tmp_path, {"text": text}, max_line_bytes=1024)
    assert [one.text if isinstance(one, Record) else one.reason for one in found] == [
        *["before", "invalid-value", "null-text", "empty-text", "record-too-long", "after"]
    ]
    assert [one.line for one in found] == list(range(1, 7))


def test_a_table_without_text_loses_no_row(tmp_path: Path) -> None:
    assert [getattr(one, "reason", "") for one in read(tmp_path, {"body": ["a", "b"]})] == ["missing-text"] * 2
    assert read(tmp_path, {"text": pyarrow.array([], pyarrow.string())}) == [Rejected(1, "empty-file", "")]


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty-file"), (b"{}", "not-parquet"), (b"PAR1x", "damaged-parquet")]
)
def test_what_is_no_parquet_is_one_rejected_record(tmp_path: Path, content: bytes, reason: str) -> None:
    assert [getattr(one, "reason", "") for one in read(tmp_path, content)] == [reason]


def test_rows_before_a_damaged_page_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "whole.parquet"
    table = pyarrow.table({"text": [f"{row * 7919 % 10007} words" for row in range(1000)]})
    pyarrow.parquet.write_table(table, file, row_group_size=100, write_page_checksum=True)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    found = read(tmp_path, bytes(content))
    records = [one for one in found if isinstance(one, Record)]
    assert [one.text for one in records] == table["text"].to_pylist()[: len(records)]
    assert 100 <= len(records) < 900
    assert found[len(records) :] == [Rejected(len(records) + 1, "damaged-parquet", "")]


def test_a_column_that_repeats_one_text_for_ever_ends_early(tmp_path: Path) -> None:
    texts = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 20_000, pyarrow.int32()), ["x" * 100_000])
    found = read(tmp_path, {"text": texts}, max_expansion=1)
    assert isinstance(found[0], Record)
    assert found[-1] == Rejected(len(found), "expands-too-much", "")
    assert len(found) < 1000


def test_what_was_read_before_in_the_same_process_does_not_matter(tmp_path: Path) -> None:
    _guard._close_all()
    other = tmp_path / "other.pdf"
    other.write_bytes(b"%PDF-1.4 and no more")
    list(Pdf(max_memory_bytes=2**28).read(other, other.name))
    assert read(tmp_path, {"text": ["a row"]}) == [Record(line=1, text="a row")]
