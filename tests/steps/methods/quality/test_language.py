from pathlib import Path

import pytest
from pydantic import ValidationError

from steps.core.texts import Texts
from steps.methods.quality import FIT
from steps.methods.quality.language import Language
from tests.steps.core.test_languages import SENTENCES


def reasons(method: Language, texts: list[str]) -> list[str]:
    return [found.reason for found in method.judge(Texts(texts), Path())]


def test_documents_in_another_language_are_dropped() -> None:
    assert reasons(Language(), [SENTENCES["en"], SENTENCES["fr"]]) == ["", "language"]
    assert reasons(Language(languages=("fr", "de")), list(SENTENCES.values())) == [
        *["language", "", "language", ""],
        *["language"] * 2,
    ]


def test_what_was_measured_is_said() -> None:
    found = Language(languages=("en",)).judge(Texts([SENTENCES["ja"]]), Path())[0]
    assert (found.reason, found.found, found.limit, found.text) == ("language", 0.0, 0.65, None)


def test_a_score_must_be_exceeded() -> None:
    score = Language(min_score=0.999).judge(Texts(["Totally ambiguous words"]), Path())[0].found
    assert score is not None
    assert reasons(Language(min_score=score), ["Totally ambiguous words"]) == ["language"]
    assert reasons(Language(min_score=score - 1e-6), ["Totally ambiguous words"]) == [""]


def test_a_text_without_letters_is_in_no_language() -> None:
    assert reasons(Language(min_score=0), ["12 345", ""]) == ["language", "language"]


def test_a_text_is_judged_alike_in_any_batch() -> None:
    texts = list(SENTENCES.values())
    together = Language().judge(Texts(texts), Path())
    assert together == [Language().judge(Texts([text]), Path())[0] for text in texts]
    assert together[0] is FIT


def test_a_language_that_cannot_be_told_is_refused() -> None:
    with pytest.raises(ValidationError, match="cannot tell english; there are: af, als, am"):
        Language(languages=("english",))
    with pytest.raises(ValidationError, match="at least 1 item"):
        Language(languages=())
