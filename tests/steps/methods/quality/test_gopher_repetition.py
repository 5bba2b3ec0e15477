from pathlib import Path

import pytest
from pydantic import ValidationError

from steps.core.texts import Texts
from steps.methods.quality import Judgement
from steps.methods.quality.gopher_repetition import GopherRepetition

OFF = {"dup_para_frac": None, "dup_para_char_frac": None, "dup_line_frac": None, "dup_line_char_frac": None}


def judge(text: str, **knobs: object) -> Judgement:
    return GopherRepetition.model_validate(knobs).judge(Texts([text]), Path())[0]


@pytest.mark.parametrize(
    ("text", "reason", "found", "limit", "part"),
    [
        ("one two\n\none two\n\nthree", "dup_para_frac", 1 / 3, 0.3, "one two"),
        ("long one, here\n\nlong one, here\n\nb\n\nc", "dup_para_char_frac", 14 / 36, 0.2, "long one, here"),
        ("one\ntwo\none", "dup_line_frac", 1 / 3, 0.3, "one"),
        ("a long line\na long line\nb\nc", "dup_line_char_frac", 11 / 27, 0.2, "a long line"),
    ],
)
def test_repeated_paragraphs_and_lines_are_counted_after_the_first(
    text: str, reason: str, found: float, limit: float, part: str
) -> None:
    judgement = judge(text)
    assert (judgement.reason, judgement.limit) == (reason, limit)
    assert judgement.found == pytest.approx(found)
    begin, end = judgement.span or (0, 0)
    assert text[begin:end] == part
    assert begin == text.rindex(part)  # the repeat, not the first


def test_line_feeds_at_both_ends_are_two_empty_lines_as_in_the_source() -> None:
    assert judge("\nab\n") == Judgement("dup_line_frac", 1 / 3, 0.3, span=(4, 4))  # '', 'ab', '': one of three


def test_the_most_frequent_n_gram_is_measured_with_its_spaces() -> None:
    text = "so it goes. so it goes. we read on about the war and its end"
    judgement = judge(text, top_n_grams=[(2, 0.1)])
    assert judgement == Judgement("top_2_gram", found=2 * len("so it") / len(text), limit=0.1, span=(0, 5))


def test_of_n_grams_that_are_equally_frequent_the_first_counts() -> None:
    judgement = judge("a bb ccc dddd", top_n_grams=[(2, 0.0)])
    assert (judgement.span, judgement.found) == ((0, 4), 4 / 13)


def test_repeated_n_grams_do_not_overlap() -> None:
    text = "x x x x x x x"  # seven words: one is new, then xx, xx, xx are repeats of two words each
    judgement = judge(text, top_n_grams=[], dup_n_grams=[(2, 0.1)])
    assert judgement == Judgement("duplicated_2_n_grams", found=6 / 13, limit=0.1, span=(2, 5))


def test_sizes_are_looked_at_in_any_order() -> None:
    text = "a b c a b c a b"
    assert judge(text, top_n_grams=[(3, 1.0), (2, 0.5)]) == Judgement("top_2_gram", 9 / 15, 0.5, span=(0, 3))
    assert judge(text, top_n_grams=[(9, 0.0), (2, 0.5)]).reason == "top_2_gram"


def test_an_empty_text_is_empty_and_a_plain_one_is_fit() -> None:
    assert judge("").reason == "empty"
    assert judge(" ".join(f"word{number}" for number in range(40))) == Judgement("", found=0.0, limit=0.3)


def test_without_limits_everything_but_the_empty_text_is_fit() -> None:
    assert judge("one\none\none", top_n_grams=[], dup_n_grams=[], **OFF).reason == ""


def test_an_n_gram_of_no_words_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        GopherRepetition(dup_n_grams=((0, 0.1),))
