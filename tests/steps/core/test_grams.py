import re
from itertools import pairwise

import numpy as np
import pytest

from steps.core.grams import grams_held, grams_of_items, plain_words
from steps.core.texts import Texts


def words(*texts: str) -> list[list[int]]:
    hashes, starts = plain_words(Texts(texts))
    return [hashes[a:b].tolist() for a, b in pairwise(starts)]


@pytest.mark.parametrize(
    "text", ["", "one", "The cat's 2 feet; un_der—line", "İstanbul ΟΔΟΣ οδος", "日本 ١٢ ǅ ß ẞ", "a\ud800b"]
)
def test_words_are_those_of_a_regular_expression(text: str) -> None:
    (found,), known = words(text), re.findall(r"\w+", text.lower())
    assert found == [words(word)[0][0] for word in known]
    assert len(set(found)) == len(set(known))


def test_texts_do_not_touch() -> None:
    assert words("a", "b", "", "c") == [*words("a"), *words("b"), [], *words("c")]


def test_a_hash_is_the_same_on_every_machine() -> None:
    assert words("One two") == [[14584309036169050274, 13163468654918522374]]


def test_the_same_run_is_the_same_gram_wherever_it_stands() -> None:
    items = plain_words(Texts(["a b c", "x a b c y"]))
    grams = grams_of_items(*items, 3, 1, whole=False)
    assert grams["sizes"].tolist() == [1, 3]
    text, gram = grams_held(*plain_words(Texts(["no", "so a b c a b c"])), grams)
    assert text.tolist() == [1]
    first, last = grams["item_starts"][gram[0] : gram[0] + 2]
    assert grams["items"][first:last].tolist() == [0, 1]


def test_runs_of_two_lengths_are_two_grams() -> None:
    grams = grams_of_items(*plain_words(Texts(["a b c", "b c"])), 3, 1, whole=False)
    assert grams["lengths"].tolist() == [2, 3]
    text, _ = grams_held(*plain_words(Texts(["b c", "a b c", "a b"])), grams)
    assert text.tolist() == [0, 1, 1]


def test_no_items_are_held_by_no_text() -> None:
    grams = grams_of_items(*plain_words(Texts([])), 13, 8, whole=True)
    assert [part.tolist() for part in grams_held(*plain_words(Texts(["a b", ""])), grams)] == [[], []]


@pytest.mark.parametrize("seed", range(3))
def test_every_run_is_found_and_no_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    item_texts = [" ".join(rng.choice(list("abcd"), int(rng.integers(0, 9)))) for _ in range(40)]
    texts = [" ".join(rng.choice(list("abcd"), int(rng.integers(0, 30)))) for _ in range(60)]
    grams = grams_of_items(*plain_words(Texts(item_texts)), 5, 2, whole=True)
    found = set()
    for text, gram in zip(*grams_held(*plain_words(Texts(texts)), grams), strict=True):
        first, last = grams["item_starts"][gram : gram + 2]
        found |= {(int(text), int(item), bool(grams["is_whole"][gram])) for item in grams["items"][first:last]}
    wanted = set()
    for number, text in enumerate(texts):
        for item, own in enumerate(item_texts):
            size = min(5, len(own.split()))
            runs = {" ".join(own.split()[at : at + size]) for at in range(len(own.split()) - size + 1)}
            if size >= 2 and any(f" {run} " in f" {text} " for run in runs):
                wanted.add((number, item, False))
            if own and text == own:
                wanted.add((number, item, True))
    assert found == wanted
