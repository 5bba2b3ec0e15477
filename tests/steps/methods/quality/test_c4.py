from pathlib import Path

import pytest

from steps.core.texts import Texts
from steps.methods.quality import Judgement
from steps.methods.quality.c4 import C4

FIVE = "One is here. Two is here. Three is here. Four is here. Five is here."


def judge(text: str, **knobs: object) -> Judgement:
    return C4.model_validate(knobs).judge(Texts([text]), Path())[0]


def test_a_text_of_five_sentences_is_left_as_it_is() -> None:
    assert judge(FIVE) == Judgement("", found=5, limit=5)


@pytest.mark.parametrize(
    "line",
    [
        "No punctuation at the end",
        "It goes on and on...",
        "Two words.",
        "Switch on JavaScript to see this.",
        "Read our Privacy Policy before you go on.",
        f"A word of {'x' * 1001} letters.",
    ],
)
def test_a_line_that_is_no_prose_is_left_out(line: str) -> None:
    assert judge(f"{FIVE}\r\n  {line} \n{FIVE}").text == f"{FIVE}\n{FIVE}"


def test_lines_may_end_as_they_like_where_fineweb_lets_them() -> None:
    text = f"A title of words\n{FIVE}"
    assert judge(text).text == FIVE
    assert judge(text, filter_no_terminal_punct=False).text is None


def test_citations_are_taken_out_and_words_are_counted_with_them() -> None:
    assert judge(f"Rome fell.[12] It is so.[citation needed]\n{FIVE}").text == f"Rome fell. It is so.\n{FIVE}"
    assert judge(f"It [1] [edit].\n{FIVE}").text == f"It  .\n{FIVE}"
    assert judge(f"Not [a12] one.\n{FIVE}").text is None


def test_sentences_are_counted_after_citations_are_taken_out() -> None:
    text = "One is it.[1] Two is it.[2] Three is it."
    assert judge(text, min_num_sentences=3) == Judgement("", 3, 3, None, "One is it. Two is it. Three is it.")
    assert judge(text, min_num_sentences=4) == Judgement("too_few_sentences", 3, 4)


def test_an_abbreviation_ends_no_sentence_and_white_space_begins_one() -> None:
    assert judge("Mr. Smith met Dr. Who at 5 p.m. in Rome.", min_num_sentences=1).found == 1
    assert judge("What?! Yes, it is.", min_num_sentences=1).found == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [("And lorem ipsum it was.", "lorem_ipsum"), ("A function f() { return it }.", "curly_bracket")],
)
def test_a_line_of_filler_or_code_drops_the_document(line: str, reason: str) -> None:
    text = f"{FIVE}\n{line}\n{FIVE}"
    judgement = judge(text)
    assert judgement.reason == reason
    begin, end = judgement.span or (0, 0)
    assert text[begin:end] == line
    assert judge(text, **{f"filter_{reason}": False}).reason == ""


def test_nothing_left_is_too_few_sentences() -> None:
    assert judge("short") == Judgement("too_few_sentences", 0, 5)
    assert judge("") == Judgement("too_few_sentences", 0, 5)


def test_with_everything_off_lines_are_only_stripped() -> None:
    off = {name: -1 if field.annotation is int else False for name, field in C4.model_fields.items()}
    assert judge(" a \n\n b{ \n", **off).text == "a\n\nb{"
