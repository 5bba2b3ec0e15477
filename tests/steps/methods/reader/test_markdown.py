from pathlib import Path

import pytest

from steps.methods.reader import Record, Rejected
from steps.methods.reader.markdown import Markdown
from steps.methods.reader.text import Text


def read(tmp_path: Path, content: str) -> Record | Rejected:
    file = tmp_path / "page.md"
    file.write_text(content, encoding="utf-8")
    (found,) = Markdown().read(file, "guide/page.md")
    return found


@pytest.mark.parametrize(
    "front",
    [
        "---\ntitle: Hi\nlang: de # as is\nlicense: 'CC0-1.0'\ndate: 2024-05-06\nby: {lang: en}\n---\n",
        '+++\nlanguage = "de"\nlicence = "CC0-1.0"\ntime = "2024-05-06"\n+++\n',
    ],
)
def test_front_matter_states_facts_and_is_no_text(tmp_path: Path, front: str) -> None:
    assert read(tmp_path, f"{front}\n# Title\n\nText.\n") == Record(
        1, "# Title\n\nText.\n", "guide/page.md", language="de", time="2024-05-06", licence="CC0-1.0"
    )


@pytest.mark.parametrize(
    "front",
    [
        "title: [",
        "- a",
        "date: 2024-99-99",
        "lang: [de]\ndate: soon",
        "lang: ''",
        "[" * 60_000,
        "lang: |\n  de",
        "lang: &a x",
    ],
)
def test_front_matter_that_states_nothing_is_still_no_text(tmp_path: Path, front: str) -> None:
    assert read(tmp_path, f"---\n{front}\n---\nText.") == Record(line=1, text="Text.", key="guide/page.md")


@pytest.mark.parametrize(
    "content",
    ["# Title\n\n---\nText", "---\nno end", "----\na\n---\n", "--- a\n---\n", "---\n" + "a: b\n" * 20_000 + "---\n"],
)
def test_a_rule_is_no_front_matter(tmp_path: Path, content: str) -> None:
    file = tmp_path / "page.md"
    assert [read(tmp_path, content)] == list(Text().read(file, "guide/page.md"))


def test_front_matter_alone_is_no_document(tmp_path: Path) -> None:
    assert read(tmp_path, "---\na: b\n---\n") == Rejected(1, "empty-text", "")
