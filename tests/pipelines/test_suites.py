"""A refresh of a chat model whose recipe asks suites: in the report, the verdict, the tracker, and by hand."""

from pathlib import Path

import pytest

from pipelines.edge.evaluation import evaluate_version
from pipelines.edge.session import Record
from steps.core.artifacts import Report
from steps.core.shards import read_lines
from tests.steps.methods.suite.examinees import chat_model, write_rows
from tests.workspaces import run, tiny, workspace

pytestmark = pytest.mark.pipeline
ANYTHING = {"wanted": ".*", "match": "regex"}


def test_suites_go_through_a_whole_refresh(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=70)
    chat_model(home.root / "base")
    write_rows(home.root / "c.jsonl", [{"id": str(k), "prompt": f"Say {k}.", **ANYTHING} for k in range(3)])
    suites = [{"method": "canaries", "file": "c.jsonl", "answer_tokens": 4}]
    suites.append({"method": "instructions", "limit": 3, "answer_tokens": 4})
    recipe = tiny(base="base", evaluate={"sample_tokens": 0, "suites": suites})
    outcome = run(home, recipe)
    assert outcome.kind in {"accepted", "rejected", "undecided"}, outcome.reasons

    reports = {}
    for file in (home.root / "data/evaluate").glob("*/record.json"):
        report = Report.model_validate(Record.model_validate_json(file.read_text(encoding="utf-8")).artifact)
        reports[report.model] = report
        assert {name: suite.num_items for name, suite in report.suites.items()} == {"canaries": 3, "instructions": 3}
        assert report.suites["canaries"].score == 1.0
        assert len(list(read_lines(home.root / report.path / "suites.jsonl"))) == 6
    assert len(reports) == 2
    tested = {row["task"] for row in read_lines(home.root / "data/gate/comparisons.jsonl")}
    assert {"canaries", "instructions"} <= tested

    asked = list[str]()
    by_hand = evaluate_version(home, "base", recipe, lambda stage, done, total, what: asked.append(what)).report
    assert by_hand.anchor == reports[by_hand.model].anchor
    assert by_hand.suites == reports[by_hand.model].suites
    assert asked == [], "everything was in the caches of the refresh"
