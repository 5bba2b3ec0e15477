from steps.core.texts import Texts


def test_some_texts_are_taken_in_the_order_asked_for() -> None:
    assert Texts(["a", "b", "c"]).take([2, 0]).texts == ["c", "a"]


def test_words_taken_along_are_the_words_of_the_texts_taken() -> None:
    texts = Texts(["one two.", "", "don't", "four"])
    assert len(texts.words.begin) == 6
    for rows in ([3, 0, 1], [0, 1, 2, 3], [3, 2, 1, 0], [1, 2], [2, 2], []):
        taken = texts.take(rows)
        assert taken.codes.tolist() == Texts(taken.texts).codes.tolist()
        for carried, fresh in zip(taken.words, Texts(taken.texts).words, strict=True):
            assert carried.tolist() == fresh.tolist()


def test_code_points_are_those_of_the_texts() -> None:
    texts = Texts(["aé", "😀"])
    assert texts.codes.tolist() == [97, 233, 0x1F600]
    assert texts.offsets.tolist() == [0, 2, 3]


def test_texts_taken_of_texts_taken_keep_their_words() -> None:
    texts = Texts(["one", "two words", "three. words", "four"])
    first = texts.take([1, 2, 3])
    assert len(texts.words.begin) == 7
    again = first.take([2, 1])
    assert [first.words.texts.tolist(), again.words.texts.tolist()] == [[0, 2, 5, 6], [0, 1, 4]]
    assert again.words.begin.tolist() == [0, 4, 9, 11]
