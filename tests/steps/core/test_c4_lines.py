from steps.core.c4_lines import Rules, edit, sentences
from steps.core.texts import Texts

RULES = Rules(True, False, 1, 1000, True, True, True, True)


def test_lines_are_copied_and_remember_where_they_came_from() -> None:
    texts = Texts(["", " one [1] two\n\nthree.", "four"])
    edited = edit(texts, RULES, ())
    assert edited.texts.tolist() == [0, 0, 2, 3]
    assert edited.source.tolist() == [1, 14, 20]
    assert edited.cited.tolist() == [True, False, False]
    found = ["".join(map(chr, edited.codes[begin:end])) for begin, end in zip(edited.begin, edited.end, strict=True)]
    assert found == ["one  two", "three.", "four"]
    assert sentences(texts, edited).tolist() == [0, 2, 1]


def test_the_kelvin_sign_is_a_k_in_lower_case() -> None:
    edited = edit(Texts(["It uses coo\u212aies today."]), RULES, ("uses cookies",))
    assert edited.texts.tolist() == [0, 0]
