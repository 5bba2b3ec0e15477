from steps.methods.select.all import All
from tests.steps.methods.select.pools import pool


def test_every_document_is_kept() -> None:
    choice = All().choose(pool({"one": 3, "two": 5}), seed=0)
    assert choice.kept == (0, 1)
    assert choice.scores == (0, 0)
    assert choice.told == "all: kept 2 documents, 8 tokens"


def test_of_nothing_nothing_is_kept() -> None:
    assert All().choose(pool({}), seed=0).kept == ()
