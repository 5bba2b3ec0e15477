"""Plain text: one file is one document."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from steps.core.method import Cite
from steps.methods.reader import Reader, Record, Rejected, excerpt
from steps.methods.reader._shared import DamagedError, chunks


class Text(Reader):
    """One document per file.

    Rule: the whole file is the text, its path in the batch the key, so a file that lands again supersedes.

    UTF-8, with or without byte order mark; line breaks become `\\n`.
    Reduces to: none (a file format).
    """

    cite: ClassVar[Cite] = Cite(title="Plain text reader", id="ours", where="this file", checked="code")

    def read(self, file: Path, name: str) -> Iterator[Record | Rejected]:
        """The one document of a file, or the reason why it is none; half a document is none.

        Raises:
            OSError: the file cannot be read.
        """
        held, damage = bytearray(), ""
        try:
            for chunk in chunks(file):
                held += chunk
                if b"\0" in chunk or len(held) > self.max_line_bytes:
                    yield Rejected(1, "binary" if b"\0" in chunk else "file-too-long", excerpt(bytes(held[:1024])))
                    return
        except DamagedError as error:
            damage = error.reason
        raw = bytes(held).removeprefix(b"\xef\xbb\xbf")
        if damage:  # what was read would be learned as if the document ended there
            yield Rejected(1, damage, excerpt(raw))
            return
        try:
            text = raw.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError as error:
            yield Rejected(1 + raw[: error.start].count(b"\n"), "invalid-utf-8", excerpt(raw[error.start :][:1024]))
            return
        if text.strip():
            yield Record(line=1, text=text, key=name)
        else:
            yield Rejected(1, "empty-text" if raw else "empty-file", "")
