from pathlib import Path

import pytest

from steps.core.texts import Texts
from steps.methods.quality import Judgement
from steps.methods.quality.fineweb import Fineweb

LONG = "a line of prose with more than thirty characters in it"


def judge(text: str, **knobs: object) -> Judgement:
    return Fineweb.model_validate(knobs).judge(Texts([text]), Path())[0]


def lines(count: int, end: str = ".") -> list[str]:
    return [f"{number} {LONG}{end}" for number in range(count)]


def test_prose_is_fit() -> None:
    assert judge("\n".join(lines(4))) == Judgement("", found=1.0, limit=0.12)


@pytest.mark.parametrize(
    ("text", "reason", "found", "limit"),
    [
        ("\n".join(lines(10, "") + lines(1)), "line_punct_ratio", 1 / 11, 0.12),
        ("Home.\nNews.\nAbout.\n" + LONG, "short_line_ratio", 3 / 4, 0.67),
        (f"{LONG}.\n{LONG}.\n0 {LONG}.", "char_dup_ratio", 55 / 167, 0.01),
        ("\n\n\n\n\n".join(lines(3)), "list_ratio", 10 / 39, 0.25),
        (" \n\t\n", "empty", 0.0, 0.0),
        ("", "empty", 0.0, 0.0),
    ],
)
def test_each_rule_drops_for_its_reason(text: str, reason: str, found: float, limit: float) -> None:
    judgement = judge(text, new_line_ratio=0.25)
    assert (judgement.reason, judgement.limit) == (reason, limit)
    assert judgement.found == pytest.approx(found)


def test_the_offending_line_is_shown() -> None:
    text = f"{LONG}.\n{LONG}.\nHome.\nNews.\nAbout.\nNow.\nThen."
    assert judge(text).span == (text.index("Home."), text.index("Home.") + 5)
    assert judge(text, short_line_thr=1).span == (len(LONG) + 2, 2 * len(LONG) + 3)


def test_stop_characters_are_those_of_every_script_or_those_given() -> None:
    text = "\n".join(lines(4, "。"))
    assert judge(text).reason == ""
    assert judge(text, stop_chars=".!").reason == "line_punct_ratio"
    assert judge(text, stop_chars=".!", line_punct_exclude_zero=True).reason == ""


def test_without_limits_only_blank_texts_go() -> None:
    off = {"line_punct_thr": 0, "short_line_thr": 1, "char_duplicates_ratio": 1e9, "new_line_ratio": 1e9}
    assert judge("a\na\n\n\n\na", **off).reason == ""
    assert judge("\n", **off).reason == "empty"
