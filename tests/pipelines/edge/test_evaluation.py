from pathlib import Path

import pytest

from pipelines.edge.evaluation import evaluate_version
from pipelines.edge.home import Home
from pipelines.recipe import Recipe
from steps.core.shards import read_lines
from tests.steps.methods.suite.examinees import chat_model, write_rows
from tests.workspaces import tiny, workspace

SHORT = {"method": "instructions", "limit": 3, "answer_tokens": 4}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = workspace(tmp_path / "mine", documents=2)
    chat_model(home.root / "base")
    return home


def recipe(*suites: dict[str, object]) -> Recipe:
    return tiny(base="base", evaluate={"sample_tokens": 0, "suites": list(suites)})


def test_before_the_first_refresh_the_base_is_asked_the_suites(home: Home) -> None:
    found = evaluate_version(home, "champion", recipe(SHORT))
    assert found.version == "base"
    assert {name: suite.num_items for name, suite in found.report.suites.items()} == {"instructions": 3}
    assert found.notes == ("no hold-outs here yet: only suites were asked; the first refresh makes some",)
    assert not (home.root / "data/evaluate").exists()


def test_a_second_time_it_is_read_from_the_cache(home: Home) -> None:
    told: list[str] = []
    first = evaluate_version(home, "base", recipe(SHORT), lambda stage, done, total, what: told.append(what))
    again = evaluate_version(home, "base", recipe(SHORT), lambda stage, done, total, what: told.append(what))
    assert again == first
    assert told == ["questions of instructions"]


def test_files_of_suites_are_read_from_the_workspace(home: Home) -> None:
    write_rows(home.root / "c.jsonl", [{"prompt": "Say 3.", "wanted": ".*", "match": "regex"}])
    report = evaluate_version(home, "base", recipe({"method": "canaries", "file": "c.jsonl"})).report
    assert [row["score"] for row in read_lines(home.root / report.path / "suites.jsonl")] == [1.0]


def test_without_suites_it_says_where_to_read_of_them(home: Home) -> None:
    assert "docs/evaluation.md" in evaluate_version(home, "base", recipe()).notes[-1]


def test_a_version_that_is_not_there_is_refused(home: Home) -> None:
    with pytest.raises(ValueError, match="7"):
        evaluate_version(home, "7", recipe(SHORT))
