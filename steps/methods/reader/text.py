"""Plain text: one file is one document."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from steps.core.method import Cite
from steps.methods.reader import Reader, Record, Rejected
from steps.methods.reader._shared import document, whole_text


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
        text = whole_text(file, self)
        yield text if isinstance(text, Rejected) else document(text, name)
