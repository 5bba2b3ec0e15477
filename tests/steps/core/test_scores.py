"""What a model scored is read back, whatever a kill left behind, and what nobody asks for goes."""

from pathlib import Path

import pytest

from steps.core.scores import Scored, Scores


def row(name: str, nats: float = 1.5) -> Scored:
    return Scored(item=name, nats=nats, tokens=3, bytes=4)


def test_what_was_added_is_read_back(tmp_path: Path) -> None:
    scores = Scores(tmp_path / "new" / "scores.jsonl", "one")
    scores.add([row("a"), row("b")])
    scores.add(samples={"a": "A dog → runs"})
    again = Scores(scores.path, "one")
    assert (again.items, again.samples) == ({"a": row("a"), "b": row("b")}, {"a": "A dog → runs"})
    assert (scores.items, scores.samples) == (again.items, again.samples)


def test_another_source_has_scored_nothing(tmp_path: Path) -> None:
    Scores(tmp_path / "scores.jsonl", "one").add([row("a")])
    other = Scores(tmp_path / "scores.jsonl", "two")
    assert (other.items, other.num_rows) == ({}, 1)


@pytest.mark.parametrize("cut", [1, 20])
def test_a_line_cut_short_is_lost_alone(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "scores.jsonl"
    Scores(path, "one").add([row("a")])
    Scores(path, "one").add([row("b")])
    path.write_bytes(path.read_bytes()[:-cut])
    scores = Scores(path, "one")
    assert scores.items.keys() == ({"a", "b"} if cut == 1 else {"a"})
    scores.add([row("c")])
    assert Scores(path, "one").items.keys() == scores.items.keys()


def test_what_nobody_asks_for_goes_once_it_is_more_than_half(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    scores = Scores(path, "one")
    scores.add([row("a"), row("b")])
    scores.add([row("c"), row("d")], {"c": "said"})
    before = path.read_bytes()
    scores.keep({"b", "c", "d"})  # four of five rows
    assert path.read_bytes() == before
    scores.keep({"b"})
    assert (Scores(path, "one").items, Scores(path, "one").samples) == ({"b": row("b")}, {})
    assert (scores.items, scores.num_rows) == ({"b": row("b")}, 1)


def test_what_other_sources_scored_goes_too(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    for source in ("one", "two"):
        Scores(path, source).add([row("a"), row("b")])
    newest = Scores(path, "three")
    newest.add([row("a")])
    newest.keep({"a"})
    assert Scores(path, "one").items == {}
    assert Scores(path, "three").items == {"a": row("a")}
