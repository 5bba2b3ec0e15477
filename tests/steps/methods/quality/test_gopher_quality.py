from pathlib import Path

import pytest

from steps.core.texts import Texts
from steps.methods.quality import Judgement
from steps.methods.quality.gopher_quality import GopherQuality

PROSE = "the cat and that dog have to sit with us today. " * 6  # 11 words and a full stop: 66 plain words, 72 in all


def judge(text: str, **knobs: object) -> Judgement:
    return GopherQuality.model_validate(knobs).judge(Texts([text]), Path())[0]


def test_prose_is_fit_and_its_words_are_counted_without_punctuation() -> None:
    assert judge(PROSE) == Judgement("", found=66, limit=50)


@pytest.mark.parametrize(
    ("text", "reason", "found", "limit"),
    [
        ("the cat and that dog. ", "gopher_short_doc", 5, 50),
        (PROSE * 1516, "gopher_long_doc", 100_056, 100_000),
        ("I a " * 30, "gopher_below_avg_threshold", 1, 3),
        ("the and " + "internationally " * 50, "gopher_above_avg_threshold", (50 * 15 + 6) / 52, 10),
        (PROSE + "# " * 9, "gopher_too_many_hashes", 9 / 81, 0.1),
        (PROSE + "... " * 9, "gopher_too_many_ellipsis", 9 / 81, 0.1),
        ("- " + PROSE.strip().replace(". ", ".\n- "), "gopher_too_many_bullets", 1.0, 0.9),
        (PROSE.replace(" today", "").replace("us.", "us…\n"), "gopher_too_many_end_ellipsis", 6 / 7, 0.3),
        (PROSE + "1234 " * 20, "gopher_below_alpha_threshold", 66 / 92, 0.8),
        ("cats love dogs " * 20, "gopher_enough_stop_words", 0, 2),
    ],
)
def test_each_rule_drops_for_its_reason(text: str, reason: str, found: float, limit: float) -> None:
    symbols = (
        {} if reason in {"gopher_too_many_hashes", "gopher_too_many_ellipsis"} else {"max_symbol_word_ratio": None}
    )
    judgement = judge(text, **symbols)
    assert (judgement.reason, judgement.limit) == (reason, limit)
    assert judgement.found == pytest.approx(found)


def test_the_first_rule_that_fails_gives_the_reason() -> None:
    assert judge("1 2 3").reason == "gopher_short_doc"
    assert judge("1 2 3", min_doc_words=0).reason == "gopher_below_avg_threshold"


def test_the_offending_part_is_shown() -> None:
    text = PROSE + "# " * 9
    begin, end = judge(text).span or (0, 0)
    assert (begin, text[begin:end]) == (len(PROSE), "#")


def test_the_case_of_stop_words_counts() -> None:
    assert judge("The Cat And Its Dogs Were Here " * 10).reason == "gopher_enough_stop_words"


def test_without_limits_only_a_text_without_words_goes() -> None:
    off = dict.fromkeys([name for name in GopherQuality.model_fields if name != "stop_words"])
    assert judge("# # #", **off).reason == ""
    assert judge(" \n ", **off).reason == "gopher_short_doc"
