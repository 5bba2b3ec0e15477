import json
import logging
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load, save

from steps.core.columns import Columns, write_block
from steps.core.index import IndexRow, OpenIndex, read_index, write_index
from steps.core.shards import write_lines
from steps.core.state import Entry


def bands(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=np.uint64)


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Three refreshes: a and b come; a changes and c comes; b leaves."""
    steps = [
        ([IndexRow("a", "t", "one"), IndexRow("b", "t", "two")], bands([1, 2], [3, 4])),
        ([IndexRow("a", "t"), IndexRow("c", "u", "three"), IndexRow("a", "t", "new")], bands([0, 0], [5, 6], [1, 8])),
        ([IndexRow("b", "t")], bands([0, 0])),
    ]
    for number, (rows, own) in enumerate(steps):
        write_index(tmp_path / str(number), rows, own, "minhash")
    return [tmp_path / str(number) for number in range(len(steps))]


def test_a_key_has_the_state_of_its_newest_row(folders: list[Path]) -> None:
    asked = ["b", "a", "nobody", "c"]
    entries = [Entry("t", "two"), Entry("t", "one"), None, None]
    assert OpenIndex(folders[:1]).entries(asked) == entries
    assert OpenIndex(folders[:2]).entries(asked) == [Entry("t", "two"), Entry("t", "new"), None, Entry("u", "three")]
    assert OpenIndex(folders).entries(asked) == [None, Entry("t", "new"), None, Entry("u", "three")]


def test_content_belongs_to_a_current_document_only(folders: list[Path]) -> None:
    asked = ["one", "two", "three", "new", "none"]
    assert OpenIndex(folders[:1]).owners(asked) == ["a", "b", None, None, None]
    assert OpenIndex(folders[:2]).owners(asked) == [None, "b", "c", "a", None]
    assert OpenIndex(folders).owners(asked) == [None, None, "c", "a", None]
    assert OpenIndex(folders).owners(asked, without={"c"}) == [None, None, None, "a", None]


def test_near_is_who_shares_a_bucket_of_the_same_column(folders: list[Path]) -> None:
    asked = bands([1, 9], [9, 2], [2, 1], [9, 6], [3, 6], [0, 0])
    assert OpenIndex(folders[:1]).near(asked) == ["a", "a", None, None, "b", None]
    assert OpenIndex(folders[:2]).near(asked) == ["a", None, None, "c", "b", None]
    assert OpenIndex(folders).near(asked, without=["a"]) == [None, None, None, "c", "c", None]


def test_of_several_owners_the_oldest_is_named(tmp_path: Path) -> None:
    for number, keys in enumerate(["zy", "xa"]):
        rows = [IndexRow(key, "t", "same") for key in keys]
        write_index(tmp_path / str(number), rows, bands([7], [7]), "minhash")
    index = OpenIndex([tmp_path / "0", tmp_path / "1"])
    assert index.owners(["same"]) == index.near(bands([7])) == ["z"]
    assert index.near(bands([7]), without={"z", "x"}) == ["y"]


def test_all_keys_are_told_the_oldest_first(folders: list[Path]) -> None:
    assert list(OpenIndex(folders).items()) == [("c", Entry("u", "three")), ("a", Entry("t", "new"))]
    assert list(OpenIndex(folders[:1]).keys()) == ["a", "b"]


def test_people_can_read_it(folders: list[Path]) -> None:
    assert (folders[1] / "index.jsonl").read_text(encoding="utf-8").splitlines() == [
        '{"key":"a","removed":true,"task":"t"}',
        '{"content_hash":"three","key":"c","task":"u"}',
        '{"content_hash":"new","key":"a","task":"t"}',
    ]


def test_the_same_rows_give_the_same_bytes_and_come_back(folders: list[Path], tmp_path: Path) -> None:
    rows, own, settings = read_index(folders[1])
    assert rows[0] == IndexRow("a", "t")
    write_index(tmp_path / "again", rows, own, settings)
    for name in ("index.jsonl", "tables.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folders[1] / name).read_bytes()


def test_tables_are_written_as_safetensors_would(folders: list[Path], tmp_path: Path) -> None:
    write_index(tmp_path / "nothing", [], None, "minhash")
    for folder in (*folders, tmp_path / "nothing"):
        written = (folder / "tables.safetensors").read_bytes()
        with safe_open(folder / "tables.safetensors", framework="numpy") as file:
            facts = file.metadata()
        assert save(load(written), metadata=facts) == written


def test_bands_on_disk_give_the_same_bytes(folders: list[Path], tmp_path: Path) -> None:
    rows, own, settings = read_index(folders[0])
    assert own is not None
    write_index(tmp_path / "again", iter(rows), Columns([write_block(tmp_path / "bands", own)]), settings)
    for name in ("index.jsonl", "tables.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folders[0] / name).read_bytes()


def test_settings_are_those_of_segments_that_hold_documents(folders: list[Path], tmp_path: Path) -> None:
    write_index(tmp_path / "empty", [], None, "other")
    write_index(tmp_path / "full", [IndexRow("d", "t", "four")], bands([1, 1]), "another")
    assert OpenIndex([*folders, tmp_path / "empty"]).settings() == {"minhash"}
    assert OpenIndex([*folders, tmp_path / "full"]).settings() == {"minhash", "another"}


def test_an_old_segment_opens_without_tables(
    folders: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = tmp_path / "old"
    write_lines(old / "index.jsonl", [{"key": "ä\n", "task": "t", "content_hash": "old"}])
    with caplog.at_level(logging.WARNING):
        index = OpenIndex([old, *folders])
    assert [record.message for record in caplog.records] == [
        f"{old}: an index without tables; they are made in memory, at each opening"
    ]
    assert index.entries(["ä\n", "c"]) == [Entry("t", "old"), Entry("u", "three")]
    assert index.near(bands([5, 0])) == ["c"]
    assert index.settings() == {"", "minhash"}


def test_nothing_at_all_is_an_index(tmp_path: Path) -> None:
    write_index(tmp_path / "nothing", [], None, "minhash")
    for index in (OpenIndex([]), OpenIndex([tmp_path / "nothing"])):
        assert index.entries(["a"]) == index.owners(["one"]) == index.near(bands([1, 2])) == [None]
        assert index.entries([]) == index.owners([]) == list(index.keys()) == []


def test_another_number_of_bands_is_refused(folders: list[Path]) -> None:
    with pytest.raises(ValueError, match="wanted 3 bands, found 2; rebuild the index"):
        OpenIndex(folders).near(bands([1, 2, 3]))


@pytest.mark.parametrize("seed", range(4))
def test_it_answers_as_a_dictionary_would(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    current: dict[str, tuple[int, str, list[int]]] = {}
    for number in range(6):
        rows, own = [], []
        for at in range(int(rng.integers(0, 40))):
            key, content, buckets = str(rng.integers(30)), str(rng.integers(20)), rng.integers(0, 12, 3).tolist()
            current.pop(key, None)
            if rng.random() < 0.2:
                rows.append(IndexRow(key, "t"))
            else:
                rows.append(IndexRow(key, "t", content))
                current[key] = (1000 * number + at, content, buckets)
            own.append(buckets)
        write_index(tmp_path / str(number), rows, np.array(own, dtype=np.uint64).reshape(-1, 3), "s")
    index = OpenIndex([tmp_path / str(number) for number in range(6)])
    keys, hashes = [str(n) for n in range(35)], [str(n) for n in range(25)]
    asked = rng.integers(0, 12, (50, 3), dtype=np.uint64)
    oldest = sorted(current, key=lambda key: current[key][0])
    assert list(index.keys()) == oldest
    assert index.entries(keys) == [Entry("t", current[k][1]) if k in current else None for k in keys]
    for gone in (set(), {"3", "7", "11"}):
        left = [key for key in oldest if key not in gone]
        found = [next((key for key in left if current[key][1] == content), None) for content in hashes]
        assert index.owners(hashes, gone) == found
        near = [
            next((k for k in left if any(a and a == b for a, b in zip(row, current[k][2], strict=True))), None)
            for row in asked.tolist()
        ]
        assert index.near(asked, gone) == near


def test_rows_are_read_where_they_lie(folders: list[Path]) -> None:
    path = folders[0] / "index.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1].replace(b'"two"', b'"TWO"'))
    assert OpenIndex(folders[:1]).entries(["b"]) == [Entry("t", json.loads(lines[1])["content_hash"].upper())]
