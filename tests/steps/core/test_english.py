import pytest

from steps.core import english


def test_a_class_of_characters_is_read_from_ranges() -> None:
    assert english.code_points("41 61-63 100:104").tolist() == [0x41, 0x61, 0x62, 0x63, 0x100, 0x102, 0x104]


def test_special_cases_are_there_with_either_apostrophe() -> None:
    cases = english.special_cases()
    assert cases["don't"] == ("do", "n't")
    assert cases["don’t"] == ("do", "n’t")
    assert cases["Mr."] == ("Mr.",)


@pytest.mark.slow
def test_special_cases_are_those_of_spacy() -> None:
    spacy = pytest.importorskip("spacy", reason="spaCy is not installed: make test-all installs it")
    rules = spacy.blank("en").tokenizer.rules
    theirs = {word: tuple(part[65] for part in parts) for word, parts in rules.items()}  # 65: spaCy's ORTH
    assert english.special_cases() == {word: parts for word, parts in theirs.items() if not word.isspace()}


@pytest.mark.slow
def test_classes_of_characters_are_those_of_spacy_and_datatrove() -> None:
    import re

    classes = pytest.importorskip("spacy.lang.char_classes", reason="spaCy is not installed: make test-all installs it")
    text = pytest.importorskip("datatrove.utils.text", reason="datatrove is not installed: make test-all installs it")
    from spacy.pipeline import Sentencizer

    def members(pattern: str) -> list[int]:
        return [code for code in range(0x110000) if re.match(f"[{pattern}]", chr(code))]

    def ours(*ranges: str) -> list[int]:
        return sorted(set(english.code_points(*ranges).tolist()))

    cased = (english.LOWER, english.UPPER, english.TITLE)
    assert ours(english.UNCASED, *cased) == members(classes.ALPHA)
    assert ours(english.UNCASED, english.LOWER) == members(classes.ALPHA_LOWER)
    assert ours(english.UNCASED, english.UPPER) == members(classes.ALPHA_UPPER)
    assert ours(english.ICONS) == members(classes.ICONS)
    assert ours(english.QUOTES) == members(classes.CONCAT_QUOTES)
    assert ours(english.SENTENCE_ENDS) == sorted(map(ord, Sentencizer.default_punct_chars))
    assert ours(english.TERMINALS) == sorted(map(ord, text.TERMINAL_PUNCTUATION))
    assert ours(english.SYMBOLS) == sorted(map(ord, text.PUNCTUATION_SET))
    assert set(english.UNITS.split()) == set(classes.UNITS.split("|"))
