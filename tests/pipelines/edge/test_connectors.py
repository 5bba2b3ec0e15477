import bz2
import importlib.metadata
import json
import sys
from email.message import Message
from pathlib import Path

import pytest

from pipelines.edge.connectors import file_name, licence_of, pages, parts, sections, write_source

MODULE = '''"""{long}"""
def public(a: int, /, b=1, *args, c: str = "x", **more) -> None:
    """Public. {long}"""
def _private():
    """{long}"""
def brief():
    """Short."""
class Shape:
    """A shape. {long}"""
    def __init__(self, side=2): ...
    @property
    def area(self):
        """Area. {long}"""
    @classmethod
    def unit(cls):
        """Unit. {long}"""
'''
LONG = "A sentence that says what it is for. " * 8


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "toy" / "_inner"
    (tmp_path / "toy" / "tests").mkdir(parents=True)
    package.mkdir()
    (tmp_path / "toy" / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "_base.py").write_text(MODULE.replace("{long}", LONG))
    (tmp_path / "toy" / "broken.py").write_text("print 'python 2'")
    (tmp_path / "toy" / "tests" / "test_base.py").write_text(MODULE.replace("{long}", LONG))
    info = tmp_path / "Toy_Shapes-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Toy_Shapes\nVersion: 1.2\nLicense-Expression: MIT\n")
    files = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*.py"))]
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return info


def rows(source: str, tmp_path: Path) -> list[dict[str, str]]:
    path = tmp_path / "out" / file_name(source)
    count = write_source(source, path)
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(found) == count
    assert [row["key"] for row in found] == sorted({row["key"] for row in found})
    return found


def test_docstrings_are_parsed_and_never_imported(installed: Path, tmp_path: Path) -> None:
    found = {row["key"]: row for row in rows("installed:toy.shapes", tmp_path)}
    assert {key: row["text"].split("\n")[0] for key, row in found.items()} == {
        "toy-shapes/toy": "toy",
        "toy-shapes/toy.public": "toy.public(a, /, b=1, *args, c='x', **more)",
        "toy-shapes/toy.Shape": "class toy.Shape(side=2)",
        "toy-shapes/toy.Shape.area": "toy.Shape.area",
        "toy-shapes/toy.Shape.unit": "toy.Shape.unit()",
    }
    assert found["toy-shapes/toy.public"]["source"] == "toy-shapes 1.2: toy/_inner/_base.py"
    assert {row["licence"] for row in found.values()} == {"MIT"}
    assert "toy" not in sys.modules


def test_a_new_version_keeps_the_keys(installed: Path, tmp_path: Path) -> None:
    before = rows("installed:toy.shapes", tmp_path)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: Toy_Shapes\nVersion: 2.0\n")
    after = rows("installed:toy.shapes", tmp_path)
    assert [row["key"] for row in before] == [row["key"] for row in after]
    assert {(row["source"].split(":")[0], row["licence"]) for row in after} == {("toy-shapes 2.0", "unknown")}


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ([("License", "LGPL-2.1-only")], "LGPL-2.1-only"),
        (
            [("License", "Copyright\n        all the text"), ("Classifier", "License :: OSI Approved :: BSD License")],
            "BSD License",
        ),
        ([("License-Expression", "MIT"), ("License", "old")], "MIT"),
        ([], "unknown"),
    ],
)
def test_the_licence_is_the_expression_else_the_short_field_else_the_classifier(
    fields: list[tuple[str, str]], licence: str
) -> None:
    metadata = Message()
    for name, value in fields:
        metadata[name] = value
    assert licence_of(metadata) == licence


def test_unknown_sources_are_answered_with_those_that_exist(tmp_path: Path) -> None:
    for source, said in {
        "web:x": r"no such source; there are, for example: python:topics \(python\), installed:",
        "installed:": "no such source",
        "installed:no-such-thing": r"no such distribution.*pip install no-such-thing",
        "python:grammar": "there is: python:topics",
        "wikipedia:dump": "there is: wikipedia:gensim",
        "hf:a/b/c": "wanted hf:NAME",
    }.items():
        with pytest.raises(ValueError, match=said):
            write_source(source, tmp_path / "x.jsonl")


def test_the_file_name_is_that_of_the_source_whatever_the_order() -> None:
    assert file_name("installed:b, a") == file_name("installed:a,b,a") == "installed-a-b.jsonl"
    assert len(file_name("installed:" + ",".join(f"distribution{number}" for number in range(40)))) < 90


def test_the_language_reference_is_cut_at_its_headings(tmp_path: Path) -> None:
    found = rows("python:topics", tmp_path)
    assert rows("python:topics", tmp_path) == found
    assert len(found) > 150
    assert {row["licence"] for row in found} == {"PSF-2.0"}
    assert max(len(row["text"]) for row in found) <= 6000
    asserted = next(row for row in found if row["key"] == "python/assert#the-assert-statement")
    assert asserted["text"].startswith('The "assert" statement\n***')


def test_a_tiny_section_joins_its_neighbour() -> None:
    body = "word " * 60
    text = f"Top\n***\n\nbrief\n\nFirst\n=====\n\n{body}\n\nLast\n----\n\nbrief"
    (found,) = sections(text)
    assert found[0] == "Top"
    assert found[1] == text


def test_parts_are_short_enough_and_lose_only_white_space() -> None:
    text = "\n\n".join("word " * (number % 90) + "end." for number in range(1, 400))
    cut = parts(text, 1000)
    assert max(map(len, cut)) <= 1000
    assert min(map(len, cut)) >= 200
    assert "".join("".join(cut).split()) == "".join(text.split())
    assert parts("x" * 2500, 1000) == ["x" * 1000, "x" * 1000, "x" * 500]


def test_an_export_is_streamed_without_redirects_and_talk(tmp_path: Path) -> None:
    def page(title: str, space: int, extra: str = "") -> str:
        return (
            f"<page><title>{title}</title><ns>{space}</ns>{extra}<revision><id>5</id>"
            f"<timestamp>2016-01-01T00:00:00Z</timestamp><text>a &amp;amp; b</text></revision></page>"
        )

    body = page("Kept", 0) + page("Talk:Kept", 1) + page("Moved", 0, '<redirect title="Kept" />')
    path = tmp_path / "export.bz2"
    path.write_bytes(bz2.compress(f'<mediawiki xmlns="http://www.mediawiki.org/x/">{body}</mediawiki>'.encode()))
    assert list(pages(path)) == [("Kept", "5", "2016-01-01T00:00:00Z", "a &amp; b")]


def test_the_wikipedia_extract_is_prose(tmp_path: Path) -> None:
    try:
        importlib.metadata.distribution("gensim")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the distribution gensim is not installed")
    found = rows("wikipedia:gensim", tmp_path)
    assert len(found) > 500
    assert max(len(row["text"]) for row in found) <= 6000
    assert not [row["key"] for row in found if "[[" in row["text"].replace("$", "") and "\\" not in row["text"]]
    first = next(row for row in found if row["key"] == "enwiki/Anarchism")
    assert first["source"] == "https://en.wikipedia.org/wiki/Anarchism?oldid=716551092"
    assert first["time"] == "2016-04-22T10:19:33Z"
    assert first["text"].startswith(
        "Anarchism is a political philosophy that advocates self-governed societies based on"
    )
