from steps.core.texts import Texts


def test_some_texts_are_taken_in_the_order_asked_for() -> None:
    assert Texts(["a", "b", "c"]).take([2, 0]).texts == ["c", "a"]
