import numpy as np
import pytest

from steps.methods.select.all import All
from steps.methods.select.random import Random
from tests.steps.methods.select.pools import EVEN, pool


def test_half_of_the_tokens_is_half_of_equal_documents() -> None:
    choice = Random(keep_share=0.5).choose(pool(EVEN), seed=0)
    assert len(choice.kept) == 5
    assert list(choice.kept) == sorted(choice.kept)
    assert choice.reason == "not drawn"
    assert choice.told == "random: kept 5 of 10 documents, 50 of 100 tokens"


def test_the_document_in_which_the_budget_ends_stays_if_half_of_it_fits() -> None:
    assert len(Random(keep_tokens=34).choose(pool(EVEN), seed=0).kept) == 3
    assert len(Random(keep_tokens=35).choose(pool(EVEN), seed=0).kept) == 4


def test_the_first_document_is_kept_however_long_it_is() -> None:
    assert Random(keep_tokens=1).choose(pool({"long": 1000}), seed=0).kept == (0,)


def test_a_whole_share_is_everything() -> None:
    lengths = {f"text {k}": k % 4 for k in range(50)}  # some of no token
    assert Random(keep_share=1).choose(pool(lengths), seed=3).kept == All().choose(pool(lengths), seed=3).kept


def test_more_tokens_than_there_are_is_everything() -> None:
    assert Random(keep_tokens=10**9).choose(pool(EVEN), seed=0).kept == tuple(range(10))


def test_every_document_is_as_likely_as_any_other() -> None:
    counts = np.zeros(10)
    for seed in range(500):
        counts[list(Random(keep_share=0.2).choose(pool(EVEN), seed).kept)] += 1
    assert counts / 500 == pytest.approx(0.2, abs=0.07)  # four standard deviations


def test_chance_comes_from_the_seed() -> None:
    first, again, other = (Random(keep_share=0.3).choose(pool(EVEN), seed) for seed in (1, 1, 2))
    assert first == again
    assert first.kept != other.kept


@pytest.mark.parametrize("knobs", [{}, {"keep_share": 0.5, "keep_tokens": 10}])
def test_exactly_one_size_is_wanted(knobs: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"select\.new: random wanted either keep_share or keep_tokens"):
        Random.model_validate(knobs)


@pytest.mark.parametrize("knobs", [{"keep_share": 0}, {"keep_share": 1.1}, {"keep_tokens": 0}])
def test_a_size_that_keeps_nothing_or_too_much_is_refused(knobs: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Input should be"):
        Random.model_validate(knobs)
