"""Verbs on single versions."""

from pathlib import Path

import pytest

from tests.command_line import call, perennial
from tests.pipelines.edge.forget.lines import line


@pytest.mark.parametrize("verb", ["export"])
def test_a_verb_explains_itself_by_example(verb: str) -> None:
    code, text = call(verb, "--help")
    assert code == 0
    assert "VERSION" in text


def test_a_version_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    home = line(tmp_path / "w")
    ran = perennial("-w", str(home.root), "export", "7", str(tmp_path / "out"))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "no version 7; there are: 2, 1" in ran.stderr
    assert not (tmp_path / "out").exists()
