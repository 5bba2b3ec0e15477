"""Bytes on disk: whole or not at all, and one digest for one value."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from steps.core.shards import (
    append_line,
    canonical_json,
    digest_of,
    digest_of_files,
    read_lines,
    write_atomic,
    write_lines,
)


def test_the_order_of_keys_changes_no_digest() -> None:
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})


def test_not_a_number_has_no_digest() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"loss": float("nan")})


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    write_lines(file, [{"a": 1}])

    def breaks() -> Iterator[dict[str, int]]:
        yield {"a": 2}
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_lines(file, breaks())
    assert list(read_lines(file)) == [{"a": 1}]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_missing_file_has_no_lines(tmp_path: Path) -> None:
    assert list(read_lines(tmp_path / "none.jsonl")) == []


def test_line_separators_inside_a_text_do_not_split_a_row(tmp_path: Path) -> None:
    rows = [{"text": "one\u2028two\x85three\r\nfour"}]
    assert write_lines(tmp_path / "rows.jsonl", rows) == 1
    assert list(read_lines(tmp_path / "rows.jsonl")) == rows


def test_a_files_digest_is_over_names_and_bytes_not_places(tmp_path: Path) -> None:
    write_atomic(tmp_path / "here" / "x", "same")
    write_atomic(tmp_path / "there" / "y", "same")
    assert digest_of_files({"n": tmp_path / "here" / "x"}) == digest_of_files({"n": tmp_path / "there" / "y"})
    assert digest_of_files({"n": tmp_path / "here" / "x"}) != digest_of_files({"m": tmp_path / "here" / "x"})


@pytest.mark.parametrize("torn", [b"", b'{"a":1}\n', b'{"a":1}\n{"b"', b'{"a":1}'])
def test_a_line_is_added_whole_whatever_a_kill_left(tmp_path: Path, torn: bytes) -> None:
    file = tmp_path / "folder" / "lines.jsonl"
    file.parent.mkdir()
    file.write_bytes(torn)
    append_line(file, {"c": "ä\u2028"})
    assert file.read_bytes().splitlines()[-1] == '{"c":"ä\u2028"}'.encode()
    assert file.read_bytes().startswith(torn)


def test_the_first_line_makes_the_file(tmp_path: Path) -> None:
    append_line(tmp_path / "new" / "lines.jsonl", {"a": 1})
    assert list(read_lines(tmp_path / "new" / "lines.jsonl")) == [{"a": 1}]
