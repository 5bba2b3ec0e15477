"""The verb that deletes."""

import json
from pathlib import Path

import pytest

from tests.command_line import call, perennial
from tests.pipelines.edge.forget.lines import KEY, TEXT, line, shown


@pytest.mark.pipeline
def test_a_document_is_shown_then_forgotten_and_cannot_land_again(tmp_path: Path) -> None:
    home = line(tmp_path / "w")
    where = ("-w", str(home.root))
    letter = tmp_path / "letter.txt"
    letter.write_text(TEXT)
    dry = json.loads(perennial(*where, "forget", "--match", str(letter), "--dry-run", "--json").stdout)
    assert [(hit["key"], hit["why"]) for hit in dry["hits"]] == [(KEY, "key")]
    assert [each["how"] for each in dry["versions"]] == ["trained", "descends"]
    assert shown(home, KEY), "nothing was changed"
    ran = perennial(*where, "forget", "--match", str(letter), "--why", "her wish", "--yes")
    assert ran.returncode == 0, ran.stderr
    assert "weights are another matter" in ran.stdout
    assert shown(home, KEY, "yellow house") == []
    assert "nothing new" in perennial(*where, "land", "types", str(letter)).stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [(("--why", "x"), "--key KEY or --match FILE"), (("--key", "a"), "--why TEXT")],
)
def test_it_asks_for_what_it_needs(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    call("init", str(tmp_path / "w"))
    ran = perennial("-w", str(tmp_path / "w"), "forget", *words)
    assert ran.returncode == 2
    assert told in ran.stderr
