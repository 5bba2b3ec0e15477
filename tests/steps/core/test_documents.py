"""Documents and items, read back as they were written."""

from pathlib import Path

from steps.core.documents import Document, Item, content_hash, read_documents, read_items
from steps.core.shards import write_lines

PAGE = Document(
    key="a",
    content_hash=content_hash("one"),
    text="one",
    task="wiki",
    source="page",
    language="en",
    time="2026-01-01T00:00:00+00:00",
    licence="CC0-1.0",
    batch="0001-a",
)


def test_documents_come_back_equal(tmp_path: Path) -> None:
    write_lines(tmp_path / "documents.jsonl", [PAGE.model_dump()])
    assert list(read_documents(tmp_path)) == [PAGE]


def test_items_come_back_equal(tmp_path: Path) -> None:
    item = Item(id="0" * 16, task="wiki", document="a", text="one")
    write_lines(tmp_path / "items.jsonl", [item.model_dump()])
    assert read_items(tmp_path / "items.jsonl") == [item]


def test_a_content_hash_is_of_the_text_alone() -> None:
    assert content_hash("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
