from pathlib import Path

import numpy as np
import pytest

from steps.core.columns import Columns, Strings, write_block, write_strings

ROWS = np.arange(12, dtype=np.uint64).reshape(4, 3)


def test_a_block_gives_back_its_columns(tmp_path: Path) -> None:
    block = write_block(tmp_path / "00000.bands", ROWS)
    assert [block.column(k).tolist() for k in range(3)] == ROWS.T.tolist()


def test_blocks_lie_one_after_the_other_in_files_or_in_memory(tmp_path: Path) -> None:
    block = write_block(tmp_path / "00000.bands", ROWS[:3])
    counted = np.array([False, True, True, True])
    columns = Columns([Columns([block, ROWS[3:]], counted), ROWS[:1], np.empty((0, 9), dtype=np.uint64)])
    assert len(columns) == 4
    assert columns.column(1).tolist() == [4, 7, 10, 1]
    assert columns.num_columns == 9, "what has no rows may be wider"


def test_no_rows_have_no_columns(tmp_path: Path) -> None:
    assert (len(Columns([])), Columns([]).num_columns) == (0, 0)
    empty = Columns.of(np.empty((0, 2), dtype=np.uint64))
    assert (len(empty), empty.num_columns, empty.column(1).tolist()) == (0, 2, [])
    assert write_block(tmp_path / "none", np.empty((0, 3), dtype=np.uint64)).column(2).tolist() == []


def test_a_column_is_nobody_elses(tmp_path: Path) -> None:
    column = Columns.of(ROWS).column(0)
    column[:] = 0
    assert ROWS[:, 0].tolist() == [0, 3, 6, 9]


def test_strings_come_in_order_or_by_their_places(tmp_path: Path) -> None:
    parts = [write_strings(tmp_path / str(n), own) for n, own in enumerate((["a", "b\n"], [], ["ä", "d"]))]
    strings = Strings.joined(parts)
    assert (list(strings), len(strings)) == (["a", "b\n", "ä", "d"], 4)
    assert strings.at([3, 1, 3]) == {1: "b\n", 3: "d"}
    assert strings.at(place for place in (0, 2)) == {0: "a", 2: "ä"}


def test_only_the_files_that_hold_a_place_are_read(tmp_path: Path) -> None:
    strings = Strings.joined([write_strings(tmp_path / "a", ["a"]), Strings([tmp_path / "gone"], [1])])
    assert strings.at([]) == {}
    assert strings.at([0]) == {0: "a"}
    with pytest.raises(FileNotFoundError):
        strings.at([1])
