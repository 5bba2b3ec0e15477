import json
import re
from pathlib import Path

import pytest

from pipelines.edge.data_docs import KEEP_RUNS, render
from steps.core.artifacts import Corpus, TaskFacts
from steps.core.contracts import Contract


@pytest.fixture
def root(tmp_path: Path) -> Path:
    suite = {
        "name": "pages",
        "expectations": [
            {"type": "expect_column_value_lengths_to_be_between", "kwargs": {"column": "text", "max_value": 9}},
        ],
    }
    (tmp_path / "pages.json").write_text(json.dumps(suite))
    contract = Contract(tmp_path / "pages.json", {})
    contract.check([{"text": "short"}, {"text": "<b>far too long</b>"}])
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "contract.json").write_text(json.dumps(contract.result()))
    return tmp_path


def corpus(digest: str) -> Corpus:
    aside = {"contract:lengths-between-text": 1}
    facts = TaskFacts(name="docs")
    return Corpus(digest=digest, task=facts, path="made", num_landed=2, num_documents=1, quarantined=aside)


def test_a_run_gets_a_page_that_tells_what_was_broken(root: Path) -> None:
    index = render(root, {"docs": corpus("a" * 64)})
    assert "2 records landed, 1 documents; set aside: contract:lengths-between-text: 1" in index.read_text()
    (link,) = re.findall(r'href="([^"]+)"', index.read_text())
    page = (index.parent / link).read_text()
    assert "50% of 2 total rows" in re.sub(r"<[^>]+>|\s+", " ", page).replace("  ", " ")
    assert "far too long" in page


def test_a_page_runs_no_text_of_a_document_and_loads_nothing_from_elsewhere(root: Path) -> None:
    index = render(root, {"docs": corpus("a" * 64)})
    for page in index.parent.rglob("*.html"):
        text = page.read_text()
        assert "<b>far" not in text
        assert "<script" not in text
        assert not re.findall(r'(?:src|href)="(?:https?:)?//[^"]*"', text)


def test_the_same_run_is_rendered_once_and_only_the_last_runs_stay(root: Path) -> None:
    for number in range(KEEP_RUNS + 3):
        for _ in range(2):
            index = render(root, {"docs": corpus(f"{number:064x}"[::-1])})
    pages = sorted(path.name for path in (index.parent / "docs").glob("*.html"))
    assert len(pages) == len(list((index.parent / "docs").glob("*.json"))) == KEEP_RUNS
    assert (pages[0][:6], pages[-1][:6]) == ("000004", f"{KEEP_RUNS + 3:06d}")


def test_a_corpus_without_a_result_is_named(root: Path) -> None:
    (root / "made" / "contract.json").unlink()
    with pytest.raises(ValueError, match=r"contract\.json: wanted what ingest wrote for docs"):
        render(root, {"docs": corpus("a" * 64)})
