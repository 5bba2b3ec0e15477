"""Verbs on single versions."""

import json
from pathlib import Path

import pytest

from tests.command_line import call, perennial
from tests.facts import known
from tests.pipelines.edge.forget.lines import line

EXAMPLES = [
    ("export", "vllm serve DIR"),
    ("diff", "perennial diff base champion"),
    ("push", "perennial push 3 s3://models/mine/3"),
]


@pytest.mark.parametrize(("verb", "example"), EXAMPLES)
def test_a_verb_explains_itself_by_example(verb: str, example: str) -> None:
    code, text = call(verb, "--help")
    assert code == 0
    assert example in " ".join(text.split())


def test_a_difference_is_told_in_tables_and_as_json(tmp_path: Path) -> None:
    home = known(tmp_path / "w").home
    where = ("-w", str(home.root))
    code, text = call(*where, "diff", "1", "champion")
    assert code == 0, text
    assert "Anchor loss, nats per token" in text
    assert "weights: not compared" in text, "these two have a word for weights"
    found = json.loads(perennial(*where, "diff", "base", "2", "--json").stdout)
    assert (found["first"], found["second"]) == ("base", "2")
    assert [row["task"] for row in found["metrics"]] == ["laws", "general"]


def test_a_version_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    home = line(tmp_path / "w")
    ran = perennial("-w", str(home.root), "export", "7", str(tmp_path / "out"))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "no version 7; there are: 2, 1" in ran.stderr
    assert not (tmp_path / "out").exists()
