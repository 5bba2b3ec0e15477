import math

import pytest

from steps.methods.select.quality_top import QualityTop
from steps.methods.select.random import Random
from tests.builders import prose
from tests.steps.methods.select.pools import pool

TRUSTED = [prose(number, 200) for number in range(20)]


def test_prose_like_the_trusted_is_kept_and_gibberish_is_left() -> None:
    texts = {prose(101): 10, "qqqq xzxz 0101 @@@@ vvvv": 10, prose(102): 10, "%%%% &&&& ((((": 10}
    choice = QualityTop(keep_share=0.5).choose(pool(texts, trusted=TRUSTED), seed=0)
    assert choice.kept == (0, 2)
    assert choice.reason == "higher perplexity"
    assert "trusted: 20 texts" in choice.told


def test_the_score_is_minus_the_nats_per_byte() -> None:
    # "abab", order 2, as in the tests of steps.core.ngrams: all discounts are 1/3
    p_b = (1 - 1 / 3) / 3 + (1 / 3) * (2 / 3) / 256
    p_a = (2 - 1 / 3) / 3 + (1 / 3) * (2 / 3) / 256
    p_b_after_a = (2 - 1 / 3) / 2 + (1 / 3) * 1 / 2 * p_b
    choice = QualityTop(keep_share=0.5, order=2).choose(pool({"ab": 1, "a": 1}, trusted=["abab"]), seed=0)
    assert choice.scores == pytest.approx([(math.log(p_a) + math.log(p_b_after_a)) / 2, math.log(p_a)], abs=1e-6)


def test_length_does_not_count() -> None:
    short, long = prose(5, 40), prose(5, 40) + " " + prose(6, 400)
    scores = QualityTop(keep_share=1).choose(pool({short: 1, long: 10}, trusted=TRUSTED), seed=0).scores
    assert scores[0] == pytest.approx(scores[1], rel=0.2)


def test_a_whole_share_is_everything() -> None:
    texts = {prose(number): number + 1 for number in range(7)}
    assert QualityTop(keep_share=1).choose(pool(texts, trusted=TRUSTED), seed=0).kept == tuple(range(7))


@pytest.mark.parametrize("seed", range(3))
def test_among_documents_of_one_text_it_is_random(seed: int) -> None:
    many = pool({str(k): 10 for k in range(9)}, trusted=TRUSTED)
    for document in many.documents:
        document.__dict__["text"] = "the same text"
    assert QualityTop(keep_share=0.3).choose(many, seed).kept == Random(keep_share=0.3).choose(many, seed).kept


def test_the_same_seed_gives_the_same_choice() -> None:
    texts = {prose(number): 10 for number in range(30)}
    sampled = QualityTop(keep_share=0.5, trusted_documents=5)
    runs = [sampled.choose(pool(texts, trusted=TRUSTED), seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0].scores != runs[2].scores  # other trusted texts are drawn


@pytest.mark.parametrize("trusted", [[], [""]])
def test_without_trusted_text_it_is_refused(trusted: list[str]) -> None:
    with pytest.raises(ValueError, match="quality-top wanted trusted text of topics, found none"):
        QualityTop(keep_share=0.5).choose(pool({"a": 1}, trusted=trusted), seed=0)
