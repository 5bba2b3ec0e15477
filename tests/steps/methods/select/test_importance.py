import math
from collections import Counter
from typing import Literal

import numpy as np
import pytest

from steps.methods.select.importance import Importance
from steps.methods.select.random import Random
from tests.builders import prose
from tests.steps.methods.select.pools import EVEN, pool

KINDS: tuple[Literal["own", "equal"], ...] = ("own", "equal")


def test_the_log_weight_by_hand() -> None:
    """Target "a b": a, b and the pair ab once each. Pool "a b" and "c": a, b, ab, c once each. 1,000 buckets."""
    found = Importance(keep_share=1, num_buckets=1000, length="own").log_weights(["a b", "c"], ["a b"])
    shared = math.log(2 / 1003) - math.log(2 / 1004)  # a, b and ab
    missing = math.log(1 / 1003) - math.log(2 / 1004)  # c
    assert found == pytest.approx([3 * shared, missing], abs=1e-12)


def test_a_word_counts_as_often_as_it_stands_there() -> None:
    """Pool "a a" and "b": a twice, aa once, b once; target "a": a once."""
    found = Importance(keep_share=1, num_buckets=1000, length="own").log_weights(["a a", "b"], ["a"])
    a, aa, b = (math.log(t / 1001) - math.log(q / 1004) for t, q in ((2, 3), (1, 2), (1, 2)))
    assert found == pytest.approx([2 * a + aa, b], abs=1e-12)


def test_only_the_first_words_count() -> None:
    first = Importance(keep_share=1, max_words=2, length="own")
    assert first.log_weights(["a b c d", "x"], ["a b"]) == pytest.approx(first.log_weights(["a b", "x"], ["a b"]))


def test_a_short_text_counts_as_if_it_went_on_alike() -> None:
    """Of three words at most there are five words and pairs: "a b" has three of them."""
    texts, target = ["a b", "a b a"], ["a b"]
    own, equal = (Importance(keep_share=1, max_words=3, length=kind).log_weights(texts, target) for kind in KINDS)
    assert equal == pytest.approx([own[0] * 5 / 3, own[1]], abs=1e-12)


def test_a_text_without_words_is_the_least_like_the_target() -> None:
    found = Importance(keep_share=1).log_weights(["court", "", "melon"], ["court"])
    assert found[1] == found[2] < 0 < found[0]


def test_of_one_draw_the_frequencies_follow_the_weights() -> None:
    texts = {"a b": 10, "a c": 10, "d e": 10}
    one = Importance(keep_tokens=1, num_buckets=100, length="own")
    weights = np.exp(one.log_weights(list(texts), ["a b c"]))
    drawn: Counter[int] = Counter()
    for seed in range(2000):
        drawn.update(one.choose(pool(texts, target=["a b c"]), seed).kept)
    assert [drawn[place] / 2000 for place in range(3)] == pytest.approx(weights / weights.sum(), abs=0.045)
    assert drawn.total() == 2000


def test_what_reads_like_the_target_is_kept() -> None:
    law = {f"the court held that clause {k} of the contract is void {prose(k, 20)}": 10 for k in range(10)}
    code = {f"import numpy as np {k} return array shape {prose(100 + k, 20)}": 10 for k in range(30)}
    target = [f"the court found the contract void {prose(200 + k, 20)}" for k in range(10)]
    kept = Importance(keep_share=0.25).choose(pool({**code, **law}, target=target), seed=0).kept
    assert sum(place >= 30 for place in kept) >= 9


@pytest.mark.parametrize("seed", range(3))
def test_towards_the_pool_itself_it_is_random(seed: int) -> None:
    itself = pool(EVEN, target=list(EVEN))
    assert Importance(keep_share=0.3).choose(itself, seed).scores == Random(keep_share=0.3).choose(itself, seed).scores


def test_a_whole_share_is_everything() -> None:
    assert Importance(keep_share=1).choose(pool(EVEN, target=["text"]), seed=0).kept == tuple(range(10))


def test_chance_comes_from_the_seed() -> None:
    runs = [Importance(keep_share=0.3).choose(pool(EVEN, target=["text 1"]), seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0].kept != runs[2].kept


def test_without_a_target_it_is_refused() -> None:
    with pytest.raises(ValueError, match="importance wanted validation items of topics as its target, found none"):
        Importance(keep_share=0.5).choose(pool(EVEN), seed=0)


@pytest.mark.parametrize("knobs", [{"num_buckets": 0}, {"smoothing": 0}, {"max_words": 0}])
def test_knobs_that_count_nothing_are_refused(knobs: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Input should be greater"):
        Importance.model_validate({"keep_share": 0.5, **knobs})
