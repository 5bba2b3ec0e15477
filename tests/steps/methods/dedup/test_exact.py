from steps.core.texts import Texts
from steps.methods.dedup.exact import Exact


def test_case_and_white_space_make_no_difference_and_anything_else_does() -> None:
    one, same, other = Exact().sign(Texts(["Hello,  World\n", " hello, wORLD", "hello world"]))
    assert one.tolist() == same.tolist() != other.tolist()


def test_a_text_without_a_word_is_in_no_bucket() -> None:
    assert Exact().sign(Texts(["", " \n\t", "x"])).astype(bool).tolist() == [[False], [False], [True]]


def test_no_texts_have_no_buckets() -> None:
    assert Exact().sign(Texts([])).shape == (0, 1)
