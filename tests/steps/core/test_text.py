import pytest

from steps.core.text import passages
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
