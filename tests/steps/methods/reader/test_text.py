import gzip
from pathlib import Path

import pytest

from steps.methods.reader import Record, Rejected
from steps.methods.reader.text import Text


def read(tmp_path: Path, content: bytes, **knobs: int) -> list[Record | Rejected]:
    file = tmp_path / "page.txt"
    file.write_bytes(content)
    return list(Text(**knobs).read(file, "guide/page.txt"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_one_file_is_one_document_under_its_own_path(tmp_path: Path, pack: type[bytes]) -> None:
    assert read(tmp_path, pack(b"\xef\xbb\xbfone\r\ntwo\rthree")) == [
        Record(line=1, text="one\ntwo\nthree", key="guide/page.txt")
    ]


@pytest.mark.parametrize(
    ("content", "reason", "line"),
    [
        (b"", "empty-file", 1),
        (b" \n\n", "empty-text", 1),
        (b"one\ntwo \xff", "invalid-utf-8", 2),
        (b"one\0two", "binary", 1),
        (b"x" * 1025, "file-too-long", 1),
        (gzip.compress(b"half a document", mtime=0)[:-4], "truncated-gzip", 1),
    ],
)
def test_what_is_no_text_is_one_rejected_record(tmp_path: Path, content: bytes, reason: str, line: int) -> None:
    (found,) = read(tmp_path, content, max_line_bytes=1024)
    assert isinstance(found, Rejected)
    assert (found.reason, found.line) == (reason, line)


def test_an_excerpt_is_short_and_safe_to_print(tmp_path: Path) -> None:
    (found,) = read(tmp_path, b"\x1b[31m\0" + b"y" * 5000)
    assert isinstance(found, Rejected)
    assert found.excerpt.startswith("\\x1b[31m\\x00yyy")
    assert len(found.excerpt) < 130
