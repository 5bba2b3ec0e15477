import pytest

from steps.core.text import ItemGrams, WordHashes, near_duplicates, passages, words_of
from tests.builders import prose


def test_a_short_text_is_one_passage_as_it_is() -> None:
    assert passages("  one two\n three\n", max_words=3, min_words=1) == ["  one two\n three\n"]


def test_passages_begin_at_sentences_and_lines() -> None:
    text = "One two three. Four five six! Seven eight\nnine ten."
    assert passages(text, max_words=6, min_words=1) == ["One two three. Four five six!", "Seven eight\nnine ten."]


def test_code_keeps_its_indentation() -> None:
    text = "def f(x):\n    if x:\n        return x\n\n    return 0\n"
    assert passages(text, max_words=4, min_words=1) == ["def f(x):\n    if x:", "        return x\n\n    return 0"]


def test_a_sentence_that_is_too_long_is_cut_between_words() -> None:
    assert passages("a b c d e f g", max_words=3, min_words=1) == ["a b c", "d e f", "g"]


def test_a_passage_that_is_too_short_is_left_out() -> None:
    assert passages("a b c d e f g", max_words=3, min_words=2) == ["a b c", "d e f"]
    assert passages("a b", max_words=3, min_words=3) == []


@pytest.mark.parametrize("number", range(5))
def test_passages_lose_no_word_and_stay_within_the_limit(number: int) -> None:
    text = prose(number, 203)
    found = passages(text, max_words=36, min_words=1)
    assert " ".join(found).split() == text.split()
    assert max(len(passage.split()) for passage in found) <= 36


def test_words_know_neither_case_nor_punctuation() -> None:
    assert words_of("The cat, THE Hat!") == ["the", "cat", "the", "hat"]


def test_the_same_run_of_words_has_the_same_hash_wherever_it_stands() -> None:
    early, late = WordHashes().windows(["a", "b", "c", "x"], 3, 4), WordHashes().windows(["y", "a", "b", "c"], 3)
    assert early[3][0] == late[3][1]
    assert early[3][1] != late[3][0]
    assert [len(early[size]) for size in (3, 4)] == [2, 1]
    assert len(WordHashes().windows(["a"], 2)[2]) == 0


def test_the_hash_of_words_is_the_same_on_every_machine() -> None:
    assert WordHashes().windows(["one", "two"], 2)[2].tolist() == [925262562320278646]


def test_near_duplicates_are_one_cluster() -> None:
    page = prose(1, 200)
    assert near_duplicates([page, prose(2, 200), page.replace(page.split()[5], "other", 1)], 0.8) == [0, 1, 0]


def test_a_cluster_is_closed_under_near_duplication() -> None:
    words = prose(1, 100).split()
    steps = [" ".join(words[place : place + 80]) for place in (0, 4, 8, 12, 16, 20)]  # neighbours share 72 of 80 runs
    assert set(near_duplicates(steps, 0.75)) == {0}


def test_texts_without_words_are_alone() -> None:
    assert near_duplicates(["", "...", "one", "One!"], 0.8) == [0, 1, 2, 2]
    assert near_duplicates([], 0.8) == []


ITEM = " ".join(f"w{place}" for place in range(20))  # 8 runs of 13 words


@pytest.mark.parametrize(("shared", "found"), [(20, "item"), (16, "item"), (15, None), (12, None)])
def test_a_document_with_half_of_an_items_runs_contains_it(shared: int, found: str | None) -> None:
    grams = ItemGrams([("item", ITEM)], size=13, min_words=8)
    text = "before " + " ".join(ITEM.split()[:shared]) + " after"  # 16 words are 4 of the 8 runs
    assert grams.contained([text], coverage=0.5, common=5) == [found]


def test_a_short_item_must_be_there_whole() -> None:
    grams = ItemGrams([("short", "a b c d e f g h"), ("shorter", "p q r")], size=13, min_words=8)
    texts = ["x A b, c d e f g H y", "a b c d e f g", "p q r"]
    assert grams.contained(texts, coverage=0.5, common=5) == ["short", None, None]


def test_boilerplate_gives_no_document_away() -> None:
    grams = ItemGrams([("item", ITEM)], size=13, min_words=8)
    assert grams.contained([ITEM] * 3, coverage=0.5, common=3) == ["item"] * 3
    assert grams.contained([ITEM] * 4, coverage=0.5, common=3) == [None] * 4


def test_the_item_that_is_covered_most_is_named() -> None:
    grams = ItemGrams([("a", ITEM), ("b", ITEM + " and five words more here")], size=13, min_words=8)
    assert grams.contained([ITEM], coverage=0.5, common=5) == ["a"]


def test_no_item_is_in_no_document() -> None:
    assert ItemGrams([], size=13, min_words=8).contained([ITEM], coverage=0.5, common=5) == [None]
