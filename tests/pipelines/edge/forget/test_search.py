"""Which documents are meant: all versions of a key, the same text elsewhere, and advice on what is nearly the same."""

import json
from pathlib import Path

import pytest

from pipelines.edge.forget.search import find, wanted
from pipelines.edge.home import Home
from steps.core.documents import content_hash
from steps.core.shards import write_lines
from tests.workspaces import land_rows, paragraphs, workspace

SAID = paragraphs()[500 % len(paragraphs())]
NEARLY = SAID.replace(SAID.split()[-2], "something", 1)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = workspace(tmp_path, documents=2)
    land_rows(home, "types", [{"key": "page", "text": "its first text"}, {"key": "twin", "text": SAID}])
    land_rows(home, "general", [{"key": "page", "text": SAID}, {"key": "close", "text": NEARLY}])
    return home


def keys(hits: list) -> set[tuple[str, str]]:  # type: ignore[type-arg]
    return {(hit.key, hit.why) for hit in hits}


def test_a_key_means_all_that_stood_under_it_and_the_same_text_elsewhere(home: Home) -> None:
    found = find(home.root, ["page"], [])
    assert keys(found.hits) == {("page", "key"), ("twin", "content")}
    assert len(found.hits) == 3
    assert found.target.contents == {content_hash("its first text"), content_hash(SAID)}
    assert keys(found.near) == {("close", "near-duplicate")}


def test_what_is_nearly_the_same_counts_when_it_is_asked_for(home: Home) -> None:
    found = find(home.root, ["page"], [], near=True)
    assert {hit.key for hit in found.hits} == {"page", "twin", "close"}
    assert found.near == []


def test_a_text_means_the_documents_that_say_it(home: Home) -> None:
    found = find(home.root, [], [SAID])
    assert keys(found.hits) == {("page", "key"), ("twin", "key")}


def test_the_items_of_a_document_are_found_where_they_are_held(home: Home) -> None:
    item = {"id": "0" * 16, "task": "types", "document": "page", "text": "a passage"}
    write_lines(home.root / "data/state/ab/types/anchor.jsonl", [item])
    assert find(home.root, ["page"], []).target.items == {"0" * 16}


def test_what_is_in_no_batch_is_not_found(home: Home) -> None:
    found = find(home.root, ["nobody"], [])
    assert (found.hits, found.near) == ([], [])


def test_a_file_names_keys_and_texts_or_is_a_document(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"key": "a"}\n\n{"text": "b"}\n{"key": "c", "text": "d"}\n')
    assert wanted(rows) == (["a", "c"], ["b", "d"])
    page = tmp_path / "page.txt"
    page.write_text("a page\r\nof two lines")
    assert wanted(page) == ([], ["a page\nof two lines"])
    rows.write_text(json.dumps({"name": "x"}))
    with pytest.raises(ValueError, match="line 1: wanted"):
        wanted(rows)
    with pytest.raises(ValueError, match="there is no such file"):
        wanted(tmp_path / "none")
