import numpy as np
import pytest
from pydantic import ValidationError

from steps.methods.order.by_length import ByLength
from steps.methods.order.interleaved import Interleaved

LENGTHS = np.array([5, 1, 4, 2, 3])


def test_short_before_long_and_the_other_way_round() -> None:
    assert ByLength().documents(LENGTHS, 15, epoch=0, seed=0).tolist() == [1, 3, 4, 2, 0]
    assert ByLength(direction="long-first").documents(LENGTHS, 15, epoch=0, seed=0).tolist() == [0, 2, 4, 3, 1]


def test_a_budget_below_the_source_sees_long_documents_too() -> None:
    lengths = np.arange(1, 101)
    order = ByLength().documents(lengths, 1000, epoch=0, seed=0)
    drawn = lengths[order]
    assert (np.diff(drawn) > 0).all()
    assert drawn.max() > 60
    assert 1000 <= drawn.sum() < 1100


def test_the_last_epoch_draws_what_is_left() -> None:
    lengths = np.arange(1, 101)
    assert len(ByLength().documents(lengths, 6000, epoch=0, seed=0)) == 100
    left = lengths[ByLength().documents(lengths, 6000, epoch=1, seed=0)]
    assert 950 <= left.sum() < 1050
    assert len(ByLength().documents(lengths, 6000, epoch=2, seed=0)) == 1


@pytest.mark.parametrize("direction", ["short-first", "long-first"])
def test_documents_of_one_length_are_shuffled(direction: str) -> None:
    lengths, order = np.full(9, 4), ByLength.model_validate({"direction": direction})
    assert np.array_equal(order.documents(lengths, 72, 1, 3), Interleaved().documents(lengths, 72, 1, 3))


def test_sources_are_taken_in_turn() -> None:
    counts = {"new/a": 7, "replay/g": 3}
    assert ByLength().sources(counts, [4, 4, 2], 0) == Interleaved().sources(counts, [4, 4, 2], 0)


def test_another_direction_is_refused() -> None:
    with pytest.raises(ValidationError, match="'short-first' or 'long-first'"):
        ByLength.model_validate({"direction": "upwards"})
