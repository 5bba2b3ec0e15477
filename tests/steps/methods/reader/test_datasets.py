import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.ipc
import pytest

from steps.methods.reader import Record, Rejected, reader_for
from steps.methods.reader.datasets import Datasets


def read(file: Path, **knobs: int) -> list[Record | Rejected]:
    return list(Datasets(**knobs).read(file, f"saved/{file.name}"))


def arrow(file: Path, table: dict[str, Any], make: Any = pyarrow.ipc.new_stream) -> Path:
    rows = pyarrow.table(table)
    with make(str(file), rows.schema) as writer:
        writer.write_table(rows, max_chunksize=100)
    return file


@pytest.mark.parametrize("make", [pyarrow.ipc.new_stream, pyarrow.ipc.new_file])
def test_streams_and_files_are_read_batch_by_batch(tmp_path: Path, make: Any) -> None:
    file = arrow(tmp_path / "data.arrow", {"text": [f"row {row}" for row in range(250)], "label": [1] * 250}, make)
    assert read(file) == [Record(line=row + 1, text=f"row {row}") for row in range(250)]


def test_a_folder_of_save_to_disk_gives_its_rows_and_nothing_else(tmp_path: Path) -> None:
    import datasets

    rows = [{"prompt": "Why?", "completion": "So."}, {"prompt": "Who?", "completion": "I."}]
    datasets.DatasetDict(train=datasets.Dataset.from_list(rows)).save_to_disk(tmp_path / "saved")
    found: list[Record | Rejected] = []
    for file in sorted((tmp_path / "saved").rglob("*.*")):
        assert reader_for(f"saved/train/{file.name}", file.read_bytes()[:4096]) == "datasets"
        found += read(file)
    assert [getattr(one, "text", one) for one in found] == ["Why?\n\nSo.", "Who?\n\nI."]


def test_an_offset_outside_its_buffer_is_found_before_it_is_used(tmp_path: Path) -> None:
    file = arrow(tmp_path / "data.arrow", {"text": ["abc", "def"]})
    offsets, lying = (b"".join(n.to_bytes(4, "little") for n in (0, 3, end)) for end in (6, 2_000_000_000))
    assert file.read_bytes().count(offsets) == 1
    file.write_bytes(file.read_bytes().replace(offsets, lying))
    assert [getattr(one, "reason", "") for one in read(file)] == ["damaged-datasets"]


def test_what_is_no_arrow_is_one_rejected_record(tmp_path: Path) -> None:
    for content, reason in {b"": "empty-file", b"{}": "not-arrow", b"ARROW1\0\0": "damaged-datasets"}.items():
        file = tmp_path / "data.arrow"
        file.write_bytes(content)
        assert [getattr(one, "reason", "") for one in read(file)] == [reason]


def test_a_stream_that_ends_early_keeps_the_batches_before(tmp_path: Path) -> None:
    file = arrow(tmp_path / "data.arrow", {"text": [f"row {row}" for row in range(250)]})
    file.write_bytes(file.read_bytes()[:-700])
    found = read(file)
    assert found[:200] == [Record(line=row + 1, text=f"row {row}") for row in range(200)]
    assert found[200:] == [Rejected(201, "damaged-datasets", "")]


def test_a_description_that_is_none_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    file.write_text(json.dumps(["_data_files"]))
    assert [getattr(one, "reason", "") for one in read(file)] == ["not-an-object"]
