import math

import numpy as np
import pytest

from steps.core.ngrams import (
    Bytes,
    as_bytes,
    byte_nats,
    fit_linear,
    folds_of,
    linear_scores,
    train_bytes,
    word_features,
    word_occurrences,
)
from tests.builders import prose


def nats(texts: list[str], judged: str, order: int) -> float:
    return float(byte_nats(train_bytes(texts, order, 10**6), as_bytes([judged]), order)[0])


def test_texts_become_bytes_one_after_the_other() -> None:
    flat = as_bytes(["aé", "", "\ud800"])
    assert flat.offsets.tolist() == [0, 3, 3, 6]
    assert bytes(flat.data[:3]) == "aé".encode()


def test_kneser_ney_by_hand() -> None:
    # "abab", order 2: pairs ab 2, ba 1. D2 = 1 / (1 + 2·1) = 1/3. Singles by what stands in front: a 1 (b) + 1 (a text
    # starts with it), b 1 (a). D1 = 1/3 too, over 3. P(b) = (1 - D)/3 + D·2/3/256.
    p_b = (1 - 1 / 3) / 3 + (1 / 3) * (2 / 3) / 256
    p_a = (2 - 1 / 3) / 3 + (1 / 3) * (2 / 3) / 256
    p_b_after_a = (2 - 1 / 3) / 2 + (1 / 3) * 1 / 2 * p_b
    assert nats(["abab"], "a", 2) == pytest.approx(-math.log(p_a), abs=1e-6)
    assert nats(["abab"], "ab", 2) == pytest.approx(-math.log(p_a) - math.log(p_b_after_a), abs=1e-6)
    p_unseen = (1 / 3) * (2 / 3) / 256
    p_unseen_after_a = (1 / 3) / 2 * p_unseen
    assert nats(["abab"], "az", 2) == pytest.approx(-math.log(p_a) - math.log(p_unseen_after_a), abs=1e-6)


@pytest.mark.parametrize("order", [2, 3, 5, 7])
@pytest.mark.parametrize("context", ["", "a", "ame", "zzz", "\x00", "él"])
def test_the_probabilities_of_all_bytes_sum_to_one(order: int, context: str) -> None:
    model = train_bytes([prose(number) for number in range(20)], order, 10**6)
    before = context.encode()
    data = np.frombuffer(b"".join(before + bytes([byte]) for byte in range(256)), dtype=np.uint8)
    every = byte_nats(model, Bytes(data, np.arange(257) * (len(before) + 1)), order)
    first = byte_nats(model, as_bytes([context]), order)[0]
    assert np.exp(first - every).sum() == pytest.approx(1, abs=1e-5)


def test_text_like_the_training_text_costs_less() -> None:
    texts = [prose(number) for number in range(200)]
    like, unlike = prose(999), "xq" * 100
    assert nats(texts, like, 5) / len(like) < 1 < nats(texts, unlike, 5) / len(unlike)


def test_no_more_bytes_are_counted_than_asked_for() -> None:
    short, long = train_bytes(["abcd"], 3, 10**6), train_bytes(["abcd", "efgh"], 3, 4)
    assert (short.keys == long.keys).all()
    with pytest.raises(ValueError, match="found none"):
        train_bytes(["", ""], 3, 10)


def num_features(text: str, max_words: int = 100) -> int:
    return len(word_features(as_bytes([text]), 20, max_words).buckets)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 0),
        (" \n\t", 0),
        ("one", 1),
        ("one two", 3),  # two words and a pair
        ("one one one", 2),  # a word and a pair, each once
        ("it's", 5),  # it ' s, and two pairs
        ("Grüße", 1),
        ("日本", 3),  # each of these is a word
        ("a日b", 5),
    ],
)
def test_features_are_words_and_pairs_each_once(text: str, number: int) -> None:
    assert num_features(text) == number


def test_case_does_not_count_and_later_words_neither() -> None:
    one, other = word_features(as_bytes(["One Two", "one two"]), 20, 100).buckets.reshape(2, 3)
    assert (one == other).all()
    assert num_features("one two three", max_words=2) == 3


def test_occurrences_are_counted_as_often_as_they_stand_in_any_number_of_buckets() -> None:
    found = word_occurrences(as_bytes(["one one one", "", "One two three"]), 1000, max_words=2)
    assert found.ends.tolist() == [0, 3, 3, 6]  # two words and their pair
    one, again, pair = found.buckets[:3]
    assert one == again == found.buckets[3]
    assert one != pair
    assert found.buckets.max() < 1000
    assert word_occurrences(as_bytes(["one two"]), 1, 9).buckets.tolist() == [0, 0, 0]


def test_near_equal_texts_share_a_fold_more_often_than_others() -> None:
    texts = [prose(number, 200) for number in range(400)]
    changed = [" ".join([*text.split()[:-3], "other", "last", "words"]) for text in texts]
    folds, near = folds_of(as_bytes(texts), 5, 0, 1000), folds_of(as_bytes(changed), 5, 0, 1000)
    others = folds_of(as_bytes(texts[1:]), 5, 0, 1000)
    assert (folds == near).mean() > 0.9
    assert (folds[:-1] == others).mean() < 0.3
    assert np.bincount(folds).min() > 40


def test_a_linear_model_learns_a_word_that_decides() -> None:
    texts = [prose(number) + (" good" if number % 2 else " bad") for number in range(200)]
    labels = np.arange(200) % 2
    features = word_features(as_bytes(texts), 12, 100)
    order = np.tile(np.arange(100), 5)
    weights = fit_linear(features.buckets, features.ends, labels, order, 1 << 12, 0.5)
    scores = linear_scores(features.buckets, features.ends, weights[None], np.zeros(200, dtype=np.int64))
    assert ((scores[100:] > 0) == labels[100:]).mean() > 0.95


def test_a_text_without_words_scores_the_bias() -> None:
    weights_KF = np.array([[1.0, 1.0, 0.25], [1.0, 1.0, -2.0]], dtype=np.float32)
    features = word_features(as_bytes(["", ""]), 1, 10)
    scores = linear_scores(features.buckets, features.ends, weights_KF, np.array([0, 1]))
    assert scores.tolist() == [0.25, -2.0]
