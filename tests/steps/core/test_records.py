import numpy as np
import pytest

from steps.core.records import first_to_say, newest


def marks(*values: int) -> np.ndarray:
    return np.array([[value, value] for value in values], dtype=np.uint64).reshape(-1, 2)


def test_the_last_record_of_a_key_is_the_newest_whichever_task_it_is_in() -> None:
    found = newest({"a": marks(1, 2, 1), "b": marks(3, 2)})
    assert found["a"].tolist() == [False, False, True]
    assert found["b"].tolist() == [True, True]


def test_the_first_counted_record_says_it_first() -> None:
    contents = {"a": marks(7, 8, 7), "b": marks(8, 7)}
    counted = {"a": np.array([False, True, True]), "b": np.array([True, True])}
    found = first_to_say(contents, counted)
    assert found["a"].tolist() == [0, 1, 2]
    assert found["b"].tolist() == [1, 2]


def test_two_halves_of_a_fingerprint_are_compared() -> None:
    alike = np.array([[1, 2], [1, 3], [2, 2]], dtype=np.uint64)
    assert newest({"a": alike})["a"].tolist() == [True, True, True]


@pytest.mark.parametrize("seed", range(4))
def test_it_answers_as_a_plain_loop_would(seed: int) -> None:
    draw = np.random.default_rng(seed)
    prints = draw.integers(1, 6, (40, 2), dtype=np.uint64)
    counted = draw.random(40) < 0.7
    rows = [tuple(row) for row in prints.tolist()]
    assert newest({"a": prints})["a"].tolist() == [row not in rows[place + 1 :] for place, row in enumerate(rows)]
    firsts = [
        next(other for other in range(40) if counted[other] and rows[other] == row) if counted[place] else place
        for place, row in enumerate(rows)
    ]
    assert first_to_say({"a": prints}, {"a": counted})["a"].tolist() == firsts


def test_nothing_has_no_newest() -> None:
    assert newest({}) == {}
    assert newest({"a": marks()})["a"].tolist() == []
    assert first_to_say({}, {}) == {}
