"""PDF: one file is one document, its text page by page."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from steps.core.method import Cite
from steps.methods.reader import Record, Rejected, excerpt
from steps.methods.reader._guard import GuardedReader
from steps.methods.reader._shared import document, whole

HYPHEN = re.compile("[\x02\ufffe](?:\r?\n)?")  # how PDFium marks a word that was broken at the end of a line


class Pdf(GuardedReader):
    """One document per file.

    Rule: text = the pages in their order, as PDFium reads them, joined by blank lines; the file's path is the key.

    Words that are hyphenated at the end of a line are joined; other line breaks stay where the page has them. Pages
    without text (scans) add nothing; nothing is recognised from images. A file that asks for a password is rejected,
    and so is one of whose pages one cannot be read: half a document is none.
    Reduces to: none (a file format).
    """

    cite: ClassVar[Cite] = Cite(
        title="PDFium, by pypdfium2", id="pypdfium2-team/pypdfium2", where="PdfTextPage.get_text_range", checked="code"
    )
    libraries: ClassVar[tuple[str, ...]] = ("pypdfium2",)

    def parse(self, file: Path, name: str) -> Iterator[Record | Rejected]:
        """The one document of a file."""
        import pypdfium2

        raw = whole(file, self, binary=True)
        if isinstance(raw, Rejected):
            yield raw
            return
        try:
            pdf = pypdfium2.PdfDocument(raw)
        except pypdfium2.PdfiumError as error:
            yield Rejected(1, "encrypted" if "assword" in str(error) else "damaged-pdf", excerpt(raw[:1024]))
            return
        pages: list[str] = []
        num_characters = 0
        for number in range(len(pdf)):
            page = pdf[number]
            sheet = page.get_textpage()
            text = HYPHEN.sub("", sheet.get_text_range()).replace("\r\n", "\n").replace("\r", "\n").strip()
            sheet.close()
            page.close()
            num_characters += len(text)
            if num_characters > self.max_line_bytes:
                yield Rejected(1, "file-too-long", excerpt(pages[0] if pages else text))
                return
            if text:
                pages.append(text)
        yield document("\n\n".join(pages).replace("\0", ""), name, "no-text")
