"""The page that shows what clean did: complete, masked, escaped, and on its own."""

import html
import json
import re
from pathlib import Path

import pytest

from pipelines.edge.clean_report import NUM_EXAMPLES, render, write_report
from steps.clean import CleanConfig
from steps.core.artifacts import Corpus, Kept
from tests.builders import build_corpus, build_document, build_workspace, prose, run_data_stages

MAIL = "ada@example.org"
RULES = {
    "quality": [
        {"method": "basic", "min_characters": 60},
        {"method": "repeated-lines", "max_documents": 3, "min_share": 0.9},
    ]
}
Made = tuple[Path, Kept, dict[str, Corpus]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Forty pages, ten of them short, a twin, a near twin, a notice in eight of them, an address in a key."""
    workspace = build_workspace(tmp_path_factory.mktemp("clean"))
    notice = "This page <b>moved</b>; write to ada@example.org or read the notice on the old one."
    documents = [build_document(f"page-{n}", prose(n, 120)) for n in range(28)]
    documents += [build_document(f"note-{n}", f"{notice}\n{prose(100 + n, 20)}") for n in range(8)]
    documents += [build_document(f"tiny-{n}", f"too short {n}") for n in range(14)]
    documents += [build_document(f"twin-of-{MAIL}", prose(3, 120)), build_document("near", prose(4, 120) + " more")]
    corpus = {"topics": build_corpus(workspace, documents, quarantined={"not-json": 3})}
    kept = run_data_stages(workspace, corpus, cleaning=CleanConfig.model_validate(RULES)).kept
    return workspace.root, kept, corpus


@pytest.fixture(scope="module")
def page(made: Made) -> str:
    return write_report(*made).read_text(encoding="utf-8")


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html.unescape(re.sub(r"<style>.*?</style>", "", page))).split())


def test_every_step_says_what_it_took_and_what_it_left(page: str) -> None:
    text = words(page)
    assert "55 records landed, 28 kept" in text
    for line in ("quarantined −3 52", "duplicate −1 51", "quality/basic −14 37", "quality/repeated-lines −8 29"):
        assert line in text
    assert re.search(r"dedup −1 28 .* kept 28", text)


def test_ten_examples_of_a_reason_are_drawn_the_same_ones_each_time(made: Made, page: str) -> None:
    root, kept, corpus = made
    drawn = re.findall(r"tiny-\d+", page)
    assert len(drawn) == len(set(drawn)) == NUM_EXAMPLES
    assert "10 of 14, drawn at random" in page
    assert render(root / kept.path, kept, corpus) == page


def test_the_offending_part_is_marked_and_private_data_masked_even_in_keys(page: str) -> None:
    assert "<mark>This page &lt;b&gt;moved&lt;/b&gt;; write to [email] or read" in page
    assert MAIL not in page


def test_duplicates_name_what_they_repeat_and_what_rules_learned_is_told(page: str) -> None:
    text = words(page)
    assert re.search(r"page-3 1 0 \S*\[email\]", text)
    assert "page-4 0 1 near" in text
    assert "quality/repeated-lines documents 52 , distinct documents 51 , limit 3 , repeated lines 1" in text


def test_the_page_runs_nothing_and_loads_nothing(page: str) -> None:
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?!#)", page)
    assert "url(" not in page
    assert "<b>moved</b>" not in page


def test_a_rule_that_edits_lowers_characters_and_no_records(made: Made, page: str) -> None:
    root, kept, _ = made
    facts = json.loads((root / kept.path / "topics" / "passages.json").read_text(encoding="utf-8"))
    left = {one["rule"]: one["documents"] for one in facts["passages"]}
    assert left["privacy/patterns"] == left["quality/repeated-lines"]
    assert "width:-" not in page


def test_nothing_landed_is_a_page_too(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    corpus = {"topics": build_corpus(workspace, [])}
    kept = run_data_stages(workspace, corpus).kept
    text = words(render(tmp_path / kept.path, kept, corpus))
    assert "1 task, 0 records landed, 0 kept" in text
    assert "Nothing was dropped" in text
