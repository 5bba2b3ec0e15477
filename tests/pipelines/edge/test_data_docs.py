import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.edge.data_docs import KEEP_RUNS, render
from steps.core.artifacts import Corpus, Kept, TaskFacts
from steps.core.contracts import Contract
from steps.core.shards import write_json
from steps.curation.batch_rules import BatchRules, check
from steps.curation.statistics import Figures


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


def rendered(root: Path, digest: str = "a" * 64, kept: Kept | None = None) -> Path:
    """The folder of the run."""
    return render(root, {"docs": corpus(digest)}, kept)["docs"]


def linked(index: Path) -> list[str]:
    return re.findall(r'href="([^"]+)"', index.read_text())


def words(page: Path) -> str:
    return " ".join(re.sub(r"<style.*?</style>|<[^>]+>", " ", page.read_text(), flags=re.DOTALL).split())


def test_a_run_gets_a_page_that_tells_what_was_broken(root: Path) -> None:
    page = rendered(root) / "raw.html"
    index = root / ".perennial/data-docs/index.html"
    assert "2 records landed, 1 documents; set aside: contract:lengths-between-text: 1" in index.read_text()
    assert [index.parent / link for link in linked(index)] == [page]
    assert "50% of 2 total rows" in words(page)
    assert "far too long" in page.read_text()


def kept_with_results(root: Path, *, held: bool) -> Kept:
    """What clean made: a contract of cleaned data that was met, and a batch that became ten times shorter."""
    usual = Figures(documents=100, judged=100, median_characters=1000, share_dropped=0.0, languages={"en": 1.0})
    found = check(BatchRules(), "docs", usual.model_copy(update={"median_characters": 100.0}), usual)
    contract = Contract(root / "pages.json", {})
    contract.check([{"text": "short"}])
    place = root / "clean" / ("held" if held else "") / "docs"
    write_json(place / "batch.json", found.result)
    write_json(place / "contract.json", contract.result())
    facts: dict[str, Any] = {"tasks": (), "kept": {}, "dropped": {}, "superseded": {}, "stale": (), "path": "clean"}
    return Kept.model_construct(
        digest="k", held={"docs": "length: <short>"} if held else {}, **facts | ({} if held else {"kept": {"docs": 1}})
    )


@pytest.mark.parametrize("held", [True, False])
def test_landed_data_cleaned_data_and_the_batch_as_a_whole_have_a_page_each(root: Path, held: bool) -> None:
    run = rendered(root, kept=kept_with_results(root, held=held))
    assert {path.name for path in run.iterdir()} == {"raw.html", "clean.html", "batch.html", "summary.json"}
    assert "length_ratio" in words(run / "batch.html")
    text = words(root / ".perennial/data-docs/index.html")
    assert "broken by some rows met broken docs:" in text
    assert ("held: length: &lt;short&gt;" in text) == held


def test_what_is_logged_is_an_index_of_these_runs_and_their_pages(root: Path) -> None:
    rendered(root, "b" * 64)
    found = render(root, {"docs": corpus("a" * 64)})
    (link,) = linked(found[""])
    assert link == f"docs/{found['docs'].name}/raw.html"
    assert (found["docs"] / "raw.html").exists()


def test_a_page_runs_no_text_of_a_document_and_loads_nothing_from_elsewhere(root: Path) -> None:
    rendered(root, kept=kept_with_results(root, held=True))
    pages = list((root / ".perennial").rglob("*.html"))
    assert len(pages) == 5
    for page in pages:
        text = page.read_text()
        assert "<b>far" not in text
        assert "<script" not in text
        assert not re.findall(r'(?:src|href)="(?:https?:)?//[^"]*"', text)


def test_the_same_run_is_rendered_once_and_only_the_last_runs_stay(root: Path) -> None:
    for number in range(KEEP_RUNS + 3):
        for _ in range(2):
            run = rendered(root, f"{number:064x}"[::-1])
    runs = sorted(path.name for path in run.parent.iterdir())
    assert len(runs) == KEEP_RUNS
    assert (runs[0][:6], runs[-1][:6]) == ("000004", f"{KEEP_RUNS + 3:06d}")


def test_a_corpus_without_a_result_is_named(root: Path) -> None:
    (root / "made" / "contract.json").unlink()
    with pytest.raises(ValueError, match=r"contract\.json: wanted what expectations found of docs"):
        rendered(root)
