"""The verb that scores a single version."""

import json
from pathlib import Path

import yaml

from tests.command_line import call
from tests.steps.methods.suite.examinees import chat_model
from tests.workspaces import tiny, workspace

SHORT = {"method": "instructions", "limit": 3, "answer_tokens": 4}


def test_scores_are_told_in_tables_and_as_json(tmp_path: Path) -> None:
    home = workspace(tmp_path / "mine", documents=2)
    chat_model(home.root / "base")
    recipe = tiny(base="base", evaluate={"sample_tokens": 0, "suites": [SHORT]}).dump()
    (home.root / "mine.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    where = ("-w", str(home.root), "evaluate", "base", "--recipe", "mine.yaml")
    code, text = call(*where)
    assert code == 0, text
    assert "Version base: suites" in text
    assert "only suites were asked" in text
    code, text = call(*where, "--json")
    assert code == 0, text
    assert json.loads(text)["report"]["suites"]["instructions"]["num_items"] == 3


def test_it_explains_itself_by_example() -> None:
    code, text = call("evaluate", "--help")
    assert code == 0
    assert "perennial evaluate base" in text
