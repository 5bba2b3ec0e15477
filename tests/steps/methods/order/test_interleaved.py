import numpy as np
import pytest

from steps.methods.order.interleaved import Interleaved

LENGTHS = np.array([5, 1, 4, 2, 3])


def test_ten_blocks_at_seven_to_three() -> None:
    order = Interleaved().sources({"new/a": 7, "replay/g": 3}, [4, 4, 2], seed=0)
    assert [order[:4].count("replay/g"), order[4:8].count("replay/g"), order[8:].count("replay/g")] == [1, 1, 1]


def test_one_source_is_read_as_it_is() -> None:
    assert Interleaved().sources({"new/a": 3}, [2, 1], seed=0) == ["new/a"] * 3


@pytest.mark.parametrize("epoch", range(3))
def test_every_epoch_has_every_document_once_in_an_order_of_its_own(epoch: int) -> None:
    order = Interleaved().documents(LENGTHS, 100, epoch, seed=1)
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert order.tolist() != Interleaved().documents(LENGTHS, 100, epoch + 1, seed=1).tolist()
    assert order.tolist() == Interleaved().documents(LENGTHS, 100, epoch, seed=1).tolist()
