"""HTML: one page is one document, its main text."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from steps.core.method import Cite
from steps.methods.reader import Record, Rejected, excerpt
from steps.methods.reader._guard import GuardedReader
from steps.methods.reader._shared import document, whole

CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
CHARSET_BYTES = 4096  # a declaration that comes later is none
ROOT = re.compile(r"<html[\s>]", re.IGNORECASE)
LANGUAGE = re.compile(r"([A-Za-z]{2,3})(?:[-_]|$)")
CREATIVE_COMMONS = re.compile(r"creativecommons\.org/(?:licenses|publicdomain)/([a-z-]+)/(\d\.\d)")


class Html(GuardedReader):
    """One document per page: title and main text, without menus, notices and comments.

    Rule: main text = trafilatura's, favouring precision; title = `og:title`, else `<title>`, set before the text where
    the text does not begin with it; the file's path is the key.

    UTF-8, else the encoding that the page declares in its first 4,096 bytes; none is guessed. The page's own
    `<html lang>` and `<link rel="license">` are the document's language and licence (Creative Commons by its short
    name, else the address). No date: pages state it in too many ways to tell it from others without guessing.
    Reduces to: none (a file format).
    """

    cite: ClassVar[Cite] = Cite(
        title="Trafilatura: A Web Scraping Library and Command-Line Tool for Text Discovery and Extraction",
        id="doi:10.18653/v1/2021.acl-demo.15",
        where="the library, favor_precision",
        checked="code",
    )
    libraries: ClassVar[tuple[str, ...]] = ("trafilatura",)

    def parse(self, file: Path, name: str) -> Iterator[Record | Rejected]:
        """The one document of a page."""
        import trafilatura

        raw = whole(file, self)
        text = raw if isinstance(raw, Rejected) else _decoded(raw)
        if isinstance(text, Rejected):
            yield text
            return
        tree = trafilatura.load_html(text if ROOT.search(text) else f"<html><body>{text}</body></html>")
        if tree is None:
            yield Rejected(1, "no-html", excerpt(text))
            return
        title = _title(tree)
        language = LANGUAGE.match(tree.get("lang") or "")
        licence = next(iter(tree.xpath("//*[self::a or self::link][contains(@rel, 'license')]/@href")), None)
        body = trafilatura.extract(tree, favor_precision=True, include_comments=False) or ""
        if not body:
            yield Rejected(1, "no-main-text", excerpt(title or text))
            return
        yield document(
            f"{title}\n\n{body}" if title and not body.startswith(title) else body,
            name,
            language=language[1].lower() if language else None,
            licence=_licence(str(licence)) if licence else None,
        )


def _decoded(raw: bytes) -> str | Rejected:
    declared = CHARSET.search(raw, 0, CHARSET_BYTES)
    for encoding in ("utf-8-sig", declared[1].decode() if declared else "utf-8"):
        try:
            return raw.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    return Rejected(1, "unknown-encoding", excerpt(raw))


def _title(tree: Any) -> str:
    stated = tree.xpath("//meta[@property='og:title']/@content") or tree.xpath("//head/title/text()")
    return " ".join(str(stated[0]).split()) if stated else ""


def _licence(address: str) -> str:
    found = CREATIVE_COMMONS.search(address)
    if not found:
        return address
    return f"CC0-{found[2]}" if found[1] == "zero" else f"CC-{found[1].upper()}-{found[2]}"
