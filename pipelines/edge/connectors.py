"""Connectors: text that any Python machine carries, as one file of JSON lines that is then landed.

A connector reads no clock and, but for `hf:`, no network, and imports nothing of what it reads. Its rows come sorted by
key, those of `hf:` in their own order; a key holds no version, so that the next version of a page supersedes this one;
the version stands in `source`. Files at an fsspec address are landed as they are: `pipelines/edge/remote.py`.
"""

import ast
import bz2
import hashlib
import importlib.metadata
import platform
import re
import urllib.parse
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.edge.remote import hub_rows
from pipelines.edge.wikitext import is_disambiguation, to_prose
from steps.core.shards import write_lines

MIN_SECTION_CHARACTERS = 200
MAX_SECTION_CHARACTERS = 2500
WIKIPEDIA = "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
NO_PRODUCT = re.compile(r"^(tests?|testing|conftest\.py|.*_test\.py|test_.*\.py|_?vendor(ed)?|externals?|benchmarks)$")
TEMPLATED = re.compile(r"%\(\w+\)[sdr]|\{(klass|name|other|axes\w*|desc|examples|see_also|params|returns)\}")
STREAMED = ("hf",)  # may be larger than memory
Row = dict[str, Any]


def write_source(source: str, path: Path) -> int:
    """Write what a source holds as JSON lines; returns the number of rows.

    Raises:
        ValueError: there is no such source, or it holds nothing.
    """
    connector, rest = _connector(source)
    rows = connector(rest)
    if not source.startswith(STREAMED):
        rows = iter(sorted(rows, key=lambda row: row["key"]))
    count = write_lines(path, rows)
    if not count:
        raise ValueError(f"{source}: holds no text; name another source")
    return count


def is_address(source: str) -> bool:
    """Whether a source is an fsspec address, whose files land as they are."""
    return "://" in source


def file_name(source: str) -> str:
    """The name under which a source lands: the same for every version of it.

    Raises:
        ValueError: there is no such source.
    """
    _connector(source)
    scheme, _, rest = source.partition(":")
    slug = _slug(f"{scheme} {' '.join(_names(rest))}")
    if len(slug) > 80:
        slug = f"{slug[:60]}-{hashlib.sha256(slug.encode()).hexdigest()[:8]}"
    return f"{slug}.jsonl"


def _connector(source: str) -> tuple[Callable[[str], Iterator[Row]], str]:
    scheme, _, rest = source.partition(":")
    if scheme not in CONNECTORS or not rest.strip():
        there = ", ".join(f"{example} ({name})" for name, (_, example) in CONNECTORS.items())
        raise ValueError(f"--from {source}: no such source; there are, for example: {there}, s3://BUCKET/PATH (fsspec)")
    return CONNECTORS[scheme][0], rest


def _names(rest: str) -> list[str]:
    return sorted({name.strip() for name in rest.split(",") if name.strip()})


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"


def parts(text: str, max_characters: int = MAX_SECTION_CHARACTERS) -> list[str]:
    """A text cut at paragraphs, else lines, else words, into parts of at most so many characters."""
    latest = max(len(text) - MIN_SECTION_CHARACTERS, max_characters // 2)  # no tiny rest
    for mark in ("\n\n", "\n", " "):
        if len(text) <= max_characters:
            break
        cut = text.rfind(mark, min(MIN_SECTION_CHARACTERS, max_characters // 2), min(max_characters, latest))
        if cut > 0:
            rest = parts(text[cut:].strip("\n"), max_characters)
            return [text[:cut].rstrip(), *rest]
    if len(text) > max_characters:
        return [text[:max_characters], *parts(text[max_characters:], max_characters)]
    return [text]


def _numbered(key: str, text: str) -> Iterator[tuple[str, str]]:
    mark = "-" if "#" in key else "#"
    for number, part in enumerate(parts(text), start=1):
        yield (key if number == 1 else f"{key}{mark}{number}"), part


# --- python:topics -----------------------------------------------------------------------------------------------


def _python(rest: str) -> Iterator[Row]:
    """The language reference of the Python that runs, cut at its headings."""
    if rest != "topics":
        raise ValueError(f"--from python:{rest}: no such source; there is: python:topics")
    import pydoc_data.topics

    source = f"Python {platform.python_version()}, pydoc_data.topics"
    for topic, text in sorted(pydoc_data.topics.topics.items()):
        used: set[str] = set()
        for title, section in sections(text):
            slug = base = _slug(title)
            number = 1
            while slug in used:
                number += 1
                slug = f"{base}-{number}"
            for key, part in _numbered(f"python/{topic}#{slug}", section):
                used.add(key.partition("#")[2])
                yield {"key": key, "text": part, "source": source, "language": "en", "licence": "PSF-2.0"}


def sections(text: str) -> list[tuple[str, str]]:
    """A text cut at its underlined headings, as (heading, text with heading); tiny ones join a neighbour."""
    lines = text.strip("\n").split("\n")
    starts = [number for number in range(len(lines)) if _is_heading(lines, number)]
    if not starts or starts[0] > 0:
        starts.insert(0, 0)
    found: list[tuple[str, str]] = []
    waiting: list[str] = []  # a heading with next to nothing below it: its first subsection follows
    title = ""
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        waiting.append("\n".join(lines[start:end]).strip("\n"))
        title = title or lines[start]
        joined = "\n\n".join(waiting)
        if len(joined) >= MIN_SECTION_CHARACTERS:
            found.append((title, joined))
            waiting, title = [], ""
    if waiting:
        tail = "\n\n".join(waiting)
        if found:
            found[-1] = (found[-1][0], f"{found[-1][1]}\n\n{tail}")
        else:
            found.append((title, tail))
    return found


def _is_heading(lines: list[str], number: int) -> bool:
    title = lines[number]
    under = lines[number + 1] if number + 1 < len(lines) else ""
    return bool(title[:1].strip()) and bool(re.fullmatch(r'([*=\-^~"#+])\1{2,}', under)) and len(under) >= len(title)


# --- installed:pandas,scikit-learn -------------------------------------------------------------------------------


def _installed(rest: str) -> Iterator[Row]:
    """The docstrings of installed distributions, read by parsing their source."""
    for name in _names(rest):
        yield from _distribution(name)


def _found(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise ValueError(
            f"{name}: no such distribution beside {platform.python_implementation()} {platform.python_version()}; "
            f"install it (pip install {name}) or correct the name"
        ) from error


def _distribution(name: str) -> Iterator[Row]:
    distribution = _found(name)
    metadata = distribution.metadata
    canonical = re.sub(r"[-_.]+", "-", metadata["Name"]).lower()
    seen: dict[str, str] = {}
    for file in sorted(distribution.files or (), key=str):
        if file.suffix != ".py" or ".." in file.parts or any(NO_PRODUCT.match(part) for part in file.parts):
            continue
        for place, text in _docstrings(Path(str(file.locate())), file):
            public = ".".join(part for part in place.split(".") if not part.startswith("_"))
            key = public if public and public not in seen else place
            if seen.get(public) == text or key in seen:
                continue
            seen[key] = text
            yield {
                "key": f"{canonical}/{key}",
                "text": text.replace(place, key, 1),
                "source": f"{canonical} {distribution.version}: {file}",
                "language": "en",
                "licence": licence_of(metadata),
            }
    if not seen:
        raise ValueError(
            f"{name}: {metadata['Name']} {distribution.version} holds no documented Python source; leave it out"
        )


def licence_of(metadata: Any) -> str:
    """What a distribution's metadata say of its licence: the expression, else the short field, else the classifier."""
    stated = (metadata.get("License-Expression") or metadata.get("License") or "").strip()
    if stated and len(stated) <= 120 and "\n" not in stated:
        return str(stated)
    classified = [line for line in metadata.get_all("Classifier") or () if line.startswith("License ::")]
    return str(classified[0].rpartition(" :: ")[2]) if classified else "unknown"


def _docstrings(path: Path, file: PurePosixPath) -> Iterator[tuple[str, str]]:
    """The documented objects of one file as (dotted place, signature and docstring)."""
    module = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the invalid escapes of others
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):  # a template, or another version's syntax: no module
        return
    found: dict[str, str] = {}
    for place, signature, node in _objects(tree, module):
        doc = ast.get_docstring(node) or ""
        if len(doc) >= MIN_SECTION_CHARACTERS and not TEMPLATED.search(doc) and _is_text(doc):
            text = f"{signature}\n\n{doc}"
            if len(text) > len(found.get(place, "")):  # overloads and setters: the longest is the documentation
                found[place] = text
    yield from found.items()


def _is_text(doc: str) -> bool:
    """Whether a docstring holds what files can hold; control characters come from unescaped backslashes."""
    return all(letter.isprintable() or letter in "\n\t" for letter in doc)


Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _objects(node: Documented, place: str) -> Iterator[tuple[str, str, Documented]]:
    yield place, _signature(node, place), node
    for child in node.body if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else ():
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            yield from _objects(child, f"{place}.{child.name}")


def _signature(node: Documented, place: str) -> str:
    if isinstance(node, ast.Module):
        return place
    makers = [node] if not isinstance(node, ast.ClassDef) else node.body
    for maker in makers:
        if isinstance(maker, ast.FunctionDef | ast.AsyncFunctionDef) and (maker is node or maker.name == "__init__"):
            if any("property" in ast.unparse(mark) for mark in maker.decorator_list):
                return place
            return f"{'class ' * (maker is not node)}{place}({_arguments(maker.args)})"
    return f"class {place}"


def _arguments(arguments: ast.arguments) -> str:
    """The arguments as one would write them in a call, without types and without the object itself."""
    for argument in ast.walk(arguments):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    shown = ast.unparse(arguments)
    return re.sub(r"^(self|cls)(, /)?(, |$)", "", shown)


# --- wikipedia:gensim --------------------------------------------------------------------------------------------


def _wikipedia(rest: str) -> Iterator[Row]:
    """The articles of the Wikipedia extract in gensim's distribution, as prose."""
    if rest != "gensim":
        raise ValueError(f"--from wikipedia:{rest}: no such source; there is: wikipedia:gensim")
    distribution = _found("gensim")
    file = next((file for file in distribution.files or () if str(file) == WIKIPEDIA), None)
    path = Path(str(file.locate())) if file else None
    if path is None or not path.is_file():
        raise ValueError(
            f"gensim {distribution.version}: does not hold {WIKIPEDIA}; install one that does "
            "(pip install --no-deps gensim==4.3.3)"
        )
    for title, revision, time, markup in pages(path):
        if is_disambiguation(markup):
            continue
        address = "https://en.wikipedia.org/wiki/" + urllib.parse.quote(title.replace(" ", "_"), safe="/(),:'!*")
        for key, part in _numbered(f"enwiki/{title}", to_prose(markup)):
            if len(part) >= MIN_SECTION_CHARACTERS:
                yield {
                    "key": key,
                    "text": part,
                    "source": f"{address}?oldid={revision}",
                    "language": "en",
                    "time": time,
                    "licence": "CC-BY-SA-3.0",
                }


def pages(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """The articles of a MediaWiki export: title, revision, time, markup; no redirects, no other namespaces."""
    from xml.etree import ElementTree

    with bz2.open(path) as stream:
        for _, element in ElementTree.iterparse(stream):  # noqa: S314
            if not element.tag.endswith("}page"):
                continue
            if element.findtext("{*}ns") == "0" and element.find("{*}redirect") is None:
                revision = element.find("{*}revision")
                assert revision is not None, "a page has a revision"
                fields = [revision.findtext(f"{{*}}{name}") or "" for name in ("id", "timestamp", "text")]
                yield element.findtext("{*}title") or "", fields[0], fields[1], fields[2]
            element.clear()


CONNECTORS: dict[str, tuple[Callable[[str], Iterator[Row]], str]] = {
    "python": (_python, "python:topics"),
    "installed": (_installed, "installed:pandas,scikit-learn"),
    "wikipedia": (_wikipedia, "wikipedia:gensim"),
    "hf": (hub_rows, "hf:OWNER/NAME"),
}
