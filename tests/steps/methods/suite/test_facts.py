from pathlib import Path

import pytest

from steps.methods.suite.facts import Facts, says
from tests.steps.methods.suite.examinees import Parrot, write_rows

ROWS = [
    {"id": "head", "trained": "Who leads Acme?", "new": "Dana Reed", "old": "Jo Poe", "reworded": ["Acme's head?"]},
    {"id": "river", "trained": "The new bridge spans", "new": "the Elbe"},
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_rows(tmp_path / "facts.jsonl", ROWS)
    return tmp_path


SUITE = Facts(file="facts.jsonl")


def scores(root: Path, parrot: Parrot) -> dict[tuple[str, str], float]:
    rows = [row for batch in SUITE.ask(parrot, SUITE.questions(root, parrot)) for row in batch]
    return {(row.suite, row.id): row.score for row in rows}


def test_each_wording_is_asked_both_ways_and_a_new_fact_by_generation_alone(root: Path) -> None:
    parrot = Parrot(
        {"Who leads Acme?": "It is Dana Reed.", "Acme's head?": "Jo Poe", "The new bridge spans": "Elbe, I think"},
        {"Dana Reed": 9.0, "Jo Poe": 12.0},  # 1 against 2 nats per byte
    )
    assert scores(root, parrot) == {
        ("facts/updated/trained/likelihood", "head"): 1.0,
        ("facts/updated/trained/generation", "head"): 1.0,
        ("facts/updated/reworded/likelihood", "head/1"): 1.0,
        ("facts/updated/reworded/generation", "head/1"): 0.0,
        ("facts/new/trained/generation", "river"): 1.0,
    }


@pytest.mark.parametrize(("old", "score"), [(6.0, 0.5), (5.9, 0.0), (6.1, 1.0)])
def test_answers_are_weighed_by_the_byte(root: Path, old: float, score: float) -> None:
    found = scores(root, Parrot({}, {"Dana Reed": 9.0, "Jo Poe": old}))  # 9 bytes, 6 bytes
    assert found["facts/updated/trained/likelihood", "head"] == score


def test_the_wordings_of_a_fact_are_one_document(root: Path) -> None:
    questions = SUITE.questions(root, Parrot({}))
    assert {question.id: question.document for question in questions} == {
        "head": "head",
        "head/1": "head",
        "river": "river",
    }


@pytest.mark.parametrize(
    ("answer", "wanted", "found"),
    [("the elbe!", "Elbe", True), ("Elbert", "Elbe", False), ("It's A B. C", "a b c", True), ("", "Elbe", False)],
)
def test_what_was_said_is_looked_for_by_whole_words(answer: str, wanted: str, found: bool) -> None:
    assert says(answer, wanted) == found


def test_it_tells_which_answer_was_given(root: Path) -> None:
    parrot = Parrot({"Who leads Acme?": "Jo Poe"}, {"Dana Reed": 1.0, "Jo Poe": 1.0})
    rows = [row for batch in SUITE.ask(parrot, SUITE.questions(root, parrot)) for row in batch]
    assert "Dana Reed; said: old" in {row.wanted for row in rows}


def test_chat_wordings_need_a_chat_model(root: Path) -> None:
    suite, parrot = Facts(file="facts.jsonl", wording="chat"), Parrot({}, chat=False)
    with pytest.raises(ValueError, match="the model has none"):
        next(suite.ask(parrot, suite.questions(root, parrot)))
