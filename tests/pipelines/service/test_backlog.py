"""What waits is counted once, and a clock that is set back makes nothing younger."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.edge.lineage import base_of
from pipelines.edge.session import pending
from pipelines.service.backlog import Backlog, count
from tests.workspaces import NOW, workspace


@pytest.mark.parametrize(
    ("name", "content", "counted"),
    [
        ("two.jsonl", b'{"text": "a"}\n{"text": "b"}\n', (2, 28)),
        ("no-newline-at-the-end.jsonl", b'{"text": "a"}\n{"text": "b"}', (2, 27)),
        ("page.md", b"# One\n\nTwo\n", (1, 11)),
        ("empty.jsonl", b"", (0, 0)),
        ("packed.jsonl.gz", gzip.compress(b'{"text": "a"}\n', mtime=0), (1, 14)),
    ],
)
def test_documents_and_bytes_of_a_file(tmp_path: Path, name: str, content: bytes, counted: tuple[int, int]) -> None:
    (tmp_path / name).write_bytes(content)
    assert count(tmp_path / name) == counted


def test_a_damaged_file_counts_as_one_document(tmp_path: Path) -> None:
    packed = gzip.compress(b'{"text": "a"}\n' * 1000)
    (tmp_path / "cut.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    assert count(tmp_path / "cut.jsonl.gz")[0] == 1


def test_batches_are_counted_once_and_remembered(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=20)
    found = pending(home, base_of(home, "tiny:"))
    backlog = Backlog(home)
    waiting = backlog.waiting(found, NOW + timedelta(minutes=1))
    assert [(one.task, one.documents, one.trains) for one in waiting] == [
        ("statements", 20, True),
        ("types", 20, True),
        ("general", 20, False),
    ]
    assert all(250 * 20 / 4 < one.tokens < 1300 * 20 / 4 for one in waiting)
    assert {one.age_seconds for one in waiting} == {60.0}
    assert len(json.loads(backlog.file.read_text(encoding="utf-8"))) == 3
    backlog.file.write_text(backlog.file.read_text(encoding="utf-8").replace("20", "21"), encoding="utf-8")
    assert Backlog(home).waiting(found, NOW)[0].documents == 21, "read, not counted again"


def test_a_clock_that_is_set_back_makes_nothing_younger_than_it_was_seen(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=20)
    found = pending(home, base_of(home, "tiny:"))
    backlog = Backlog(home)
    first = backlog.waiting(found, datetime(2020, 1, 1, tzinfo=UTC))
    second = backlog.waiting(found, datetime(2019, 1, 1, tzinfo=UTC))
    assert all(0 <= a.age_seconds < b.age_seconds < 60 for a, b in zip(first, second, strict=True))
