from steps.core.texts import Texts


def test_some_texts_are_taken_in_the_order_asked_for() -> None:
    assert Texts(["a", "b", "c"]).take([2, 0]).texts == ["c", "a"]


def test_words_taken_along_are_the_words_of_the_texts_taken() -> None:
    texts = Texts(["one two.", "", "don't", "four"])
    assert len(texts.words.begin) == 6
    taken = texts.take([3, 0, 1])
    for carried, fresh in zip(taken.words, Texts(taken.texts).words, strict=True):
        assert carried.tolist() == fresh.tolist()


def test_code_points_are_those_of_the_texts() -> None:
    texts = Texts(["aé", "😀"])
    assert texts.codes.tolist() == [97, 233, 0x1F600]
    assert texts.offsets.tolist() == [0, 2, 3]
