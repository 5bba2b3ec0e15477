from pathlib import Path

import pytest
from pydantic import ValidationError

from steps.core.texts import Texts
from steps.methods.quality.basic import Basic

NOWHERE = Path("nowhere")


def reason(text: str, **knobs: float) -> str:
    return Basic.model_validate(knobs).judge(Texts([text]), NOWHERE)[0].reason


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("x" * 39, "too-short"),
        ("x" * 40, ""),
        ("x" * 240, ""),
        ("x" * 241, "too-long"),
        ("12345 67890 " * 5, "character-class"),
        ("plain words\x00\x01 and some more of them here", "character-class"),
        ("Обновление модели без потери знаний, снова и снова.", ""),
    ],
)
def test_each_limit_has_its_reason(text: str, wanted: str) -> None:
    assert reason(text, max_characters=240) == wanted


def test_everything_is_kept_at_its_limits() -> None:
    knobs = {"min_characters": 0, "max_characters": 10**9, "min_letter_share": 0, "max_control_share": 1}
    assert not any(reason(text, **knobs) for text in ("", "\x00\x01", "1234", "a"))


def test_the_first_control_character_is_pointed_at() -> None:
    (judged,) = Basic(min_characters=0).judge(Texts(["ab\x01"]), NOWHERE)
    assert judged.span == (2, 3)


def test_limits_that_drop_everything_are_refused() -> None:
    with pytest.raises(ValidationError, match="every document would be dropped"):
        Basic(min_characters=100, max_characters=10)
