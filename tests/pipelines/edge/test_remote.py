import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest

from pipelines.edge.connectors import write_source
from pipelines.edge.landing import land_from
from pipelines.edge.remote import fetch_files
from steps.core.manifest import read_manifest

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def bucket() -> Iterator[None]:
    files = fsspec.filesystem("memory")
    for name, content in {
        "docs/a.md": b"# A",
        "docs/deep/b.pdf": b"%PDF",
        "docs/c d.txt": b"c",
        "other.txt": b"o",
    }.items():
        files.pipe(f"/bucket/{name}", content)
    yield
    files.rm("/bucket", recursive=True)


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("memory://bucket/docs", ["bucket/docs/a.md", "bucket/docs/c d.txt", "bucket/docs/deep/b.pdf"]),
        ("memory://bucket/docs/a.md", ["bucket/docs/a.md"]),
        ("memory://bucket/docs/**/*.pdf", ["bucket/docs/deep/b.pdf"]),
    ],
)
def test_files_at_an_address_land_under_bucket_and_path(tmp_path: Path, address: str, names: list[str]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/tasks.yaml").write_text("tasks: {docs: {role: train}}")
    batch = land_from(tmp_path, "docs", address, now=NOW)
    assert batch
    assert [file.name for file in read_manifest(tmp_path / batch.path).files] == names
    assert land_from(tmp_path, "docs", address, now=NOW) is None


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("memory://nowhere", "nothing is there"),
        ("s3://key:secret@bucket/docs", r"s3://…/docs: wanted a plain address"),
        ("https://example.org/a?token=1", "wanted a plain address"),
        ("zip://a::s3://bucket/b.zip", "chain"),
        ("file:///tmp/a", "perennial land TASK /tmp/a"),
        ("unknown://a", "install its driver or correct"),
    ],
)
def test_an_address_that_cannot_be_read_as_it_stands_is_refused(tmp_path: Path, address: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        fetch_files(address, tmp_path)
    assert "secret" not in str(caught.value)


def rows(source: str, tmp_path: Path) -> list[dict[str, object]]:
    write_source(source, tmp_path / "out.jsonl")
    return [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]


@pytest.fixture
def data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set that `datasets` finds below the current folder, as it finds others on the hub."""
    folder = tmp_path / "toy" / "birds"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_rows_of_a_data_set_keep_their_order_and_get_keys_without_a_version(data_set: Path, tmp_path: Path) -> None:
    lines = [{"id": 9, "text": "b", "label": 1}, {"id": 2, "text": "a", "label": 0}]
    (data_set / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert rows("hf:toy/birds", tmp_path) == [
        {"key": "hf/toy/birds/9", "source": "hf:toy/birds", "text": "b"},
        {"key": "hf/toy/birds/2", "source": "hf:toy/birds", "text": "a"},
    ]


def test_a_row_without_an_id_is_known_by_what_it_says(data_set: Path, tmp_path: Path) -> None:
    (data_set / "train.jsonl").write_text('{"prompt": "a", "completion": "b", "license": "MIT"}\n')
    (row,) = rows("hf:toy/birds", tmp_path)
    assert row["license"] == "MIT"
    assert len(str(row["key"])) == len("hf/toy/birds/") + 16


def test_a_data_set_without_text_or_out_of_reach_is_refused(
    data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data_set / "train.jsonl").write_text('{"body": "a"}\n')
    with pytest.raises(ValueError, match=r"wanted a column `text`.*found body"):
        rows("hf:toy/birds", tmp_path)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"the hub does not give it.*save_to_disk"):
        rows("hf:nobody/nothing", tmp_path)
