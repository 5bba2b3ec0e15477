"""A file cut into ranges is the same file, line by line."""

import itertools
import random
from pathlib import Path

import pytest

from steps.core.ranges import ranges, read_range


def _file(folder: Path, content: bytes) -> Path:
    path = folder / "documents.jsonl"
    path.write_bytes(content)
    return path


def test_a_range_ends_with_the_line_that_reaches_the_target(tmp_path: Path) -> None:
    path = _file(tmp_path, b"aa\nbb\ncc\ndd\n")
    assert ranges(path, 6) == [(0, 6), (6, 12)]
    assert ranges(path, 7) == [(0, 9), (9, 12)]
    assert list(read_range(path, 6, 12)) == [b"cc", b"dd"]


def test_a_line_longer_than_the_target_is_not_cut(tmp_path: Path) -> None:
    path = _file(tmp_path, b"a\n" + b"b" * 100 + b"\nc\n")
    assert ranges(path, 2) == [(0, 2), (2, 103), (103, 105)]


def test_a_last_line_without_a_line_break_counts(tmp_path: Path) -> None:
    path = _file(tmp_path, b"a\nb")
    assert ranges(path, 1) == [(0, 2), (2, 3)]
    assert list(read_range(path, 2, 3)) == [b"b"]


def test_an_empty_and_a_missing_file_have_no_range(tmp_path: Path) -> None:
    assert ranges(_file(tmp_path, b""), 10) == []
    assert ranges(tmp_path / "nowhere.jsonl", 10) == []


def test_a_target_beyond_the_file_gives_one_range(tmp_path: Path) -> None:
    assert ranges(_file(tmp_path, b"a\nb\n"), 1_000) == [(0, 4)]


@pytest.mark.parametrize("seed", range(8))
def test_every_line_is_in_exactly_one_range(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    lines = [bytes(chance.choices(b"ab\r\x00\xff ", k=chance.randrange(40))) for _ in range(200)]
    path = _file(tmp_path, b"\n".join(lines) + b"\n")
    found = ranges(path, chance.randrange(1, 300))
    assert found[0][0] == 0
    assert found[-1][1] == path.stat().st_size
    assert all(end == begin for (_, end), (begin, _) in itertools.pairwise(found))
    assert [line for begin, end in found for line in read_range(path, begin, end)] == lines


def test_a_target_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ranges(_file(tmp_path, b"a\n"), 0)


def test_a_file_that_became_shorter_is_not_read_as_whole(tmp_path: Path) -> None:
    path = _file(tmp_path, b"a\nb\n")
    (whole,) = ranges(path, 100)
    path.write_bytes(b"a\n")
    with pytest.raises(ValueError, match="ends at 2,"):
        list(read_range(path, *whole))
