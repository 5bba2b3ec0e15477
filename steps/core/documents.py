"""Documents and hold-out items: the two kinds of row."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from steps.core.artifacts import Frozen
from steps.core.shards import read_lines


class Message(Frozen):
    """One turn of a labelled record."""

    role: str = Field(description="system, user, assistant, tool; or prompt and completion")
    content: str


class Document(Frozen):
    """One document of a task."""

    key: str = Field(description="source plus address, object or path; stays when the content changes")
    content_hash: str = Field(description="SHA-256 of the text, in hexadecimal")
    text: str = Field(description="what rules judge; of a labelled record its messages, joined by blank lines")
    task: str
    source: str
    language: str
    time: str = Field(description="ISO 8601: of the source, or else of the batch")
    licence: str
    batch: str
    messages: tuple[Message, ...] | None = Field(None, description="the turns of a labelled record; none: plain text")


DocumentType = TypeVar("DocumentType", bound=Document)


class Item(Frozen):
    """One hold-out item: a document, or a passage of one."""

    id: str = Field(description="SHA-256 of task, document and text, 16 hexadecimal digits")
    task: str
    document: str = Field(description="key of the document: items of one document are not independent")
    text: str
    messages: tuple[Message, ...] | None = Field(
        None, description="the turns of a labelled record, which is judged by its completions; none: plain text"
    )
    time: str | None = Field(None, description="of a labelled record, for chat templates that write the day")


def joined(messages: Sequence[Message]) -> str:
    """The text of a labelled record: its messages, joined by blank lines."""
    return "\n\n".join(message.content for message in messages)


def content_hash(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def document_of(row: dict[str, Any], kind: type[DocumentType]) -> DocumentType:
    """A document from a row that we wrote."""
    found: DocumentType = kind.model_construct(**_with_turns(row))  # type: ignore[assignment]  # the plugin forgets it
    return found


def _with_turns(row: dict[str, Any]) -> dict[str, Any]:
    if not row.get("messages"):
        return row
    return {**row, "messages": tuple(Message.model_construct(**one) for one in row["messages"])}


def row_of(record: Document | Item) -> dict[str, Any]:
    """A document or an item as a row: what is absent is left out."""
    row = {name: value for name, value in record if value is not None}
    if record.messages:
        row["messages"] = [message.model_dump() for message in record.messages]
    return row


def read_documents(folder: Path) -> Iterator[Document]:
    """The documents of `<folder>/documents.jsonl`, in order."""
    for row in read_lines(folder / "documents.jsonl"):
        yield document_of(row, Document)


def read_items(path: Path) -> list[Item]:
    """The hold-out items of a file, in order."""
    return [Item.model_construct(**_with_turns(row)) for row in read_lines(path)]
