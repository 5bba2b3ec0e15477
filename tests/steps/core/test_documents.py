"""Documents and items, read back as they were written."""

from pathlib import Path

from steps.core.documents import Document, Item, Message, content_hash, read_documents, read_items, row_of
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


def test_a_labelled_item_comes_back_with_its_turns_and_a_plain_one_is_written_as_before(tmp_path: Path) -> None:
    said = (Message(role="prompt", content="one"), Message(role="completion", content="two"))
    item = Item(id="1", task="qa", document="b", text="one\n\ntwo", messages=said, time=PAGE.time)
    plain = Item(id="0", task="wiki", document="a", text="one")
    write_lines(tmp_path / "items.jsonl", [row_of(item), row_of(plain)])
    assert read_items(tmp_path / "items.jsonl") == [item, plain]
    assert row_of(plain) == {"id": "0", "task": "wiki", "document": "a", "text": "one"}


def test_a_content_hash_is_of_the_text_alone() -> None:
    assert content_hash("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
