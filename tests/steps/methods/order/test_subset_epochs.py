import numpy as np
import pytest
from pydantic import ValidationError

from steps.methods.order.interleaved import Interleaved
from steps.methods.order.subset_epochs import SubsetEpochs

LENGTHS = np.full(100, 10)


def epochs(order: SubsetEpochs, num_tokens: int, count: int, seed: int = 0) -> list[list[int]]:
    return [order.documents(LENGTHS, num_tokens, epoch, seed).tolist() for epoch in range(count)]


def test_a_quarter_of_the_budget_is_read_four_times_in_other_orders() -> None:
    found = epochs(SubsetEpochs(num_epochs=4), num_tokens=400, count=4)
    assert [len(order) for order in found] == [10] * 4
    assert {tuple(sorted(order)) for order in found} == {tuple(sorted(found[0]))}
    assert len({tuple(order) for order in found}) == 4
    assert found == epochs(SubsetEpochs(num_epochs=4), num_tokens=400, count=4)
    assert found[0] != epochs(SubsetEpochs(num_epochs=4), num_tokens=400, count=1, seed=1)[0]


@pytest.mark.parametrize("num_epochs", [1, 2, 3, 7])
def test_the_epochs_together_hold_what_is_asked_and_hardly_more(num_epochs: int) -> None:
    found = epochs(SubsetEpochs(num_epochs=num_epochs), num_tokens=777, count=num_epochs)
    assert 777 <= sum(10 * len(order) for order in found) < 777 + 10 * num_epochs


@pytest.mark.parametrize("num_tokens", [255, 1000, 2500])
def test_one_epoch_is_what_interleaved_reads(num_tokens: int) -> None:
    one, every = SubsetEpochs(num_epochs=1), Interleaved()
    for epoch in range(-(-num_tokens // 1000)):
        own = one.documents(LENGTHS, num_tokens, epoch, 5).tolist()
        assert own == every.documents(LENGTHS, num_tokens, epoch, 5).tolist()[: len(own)]
        assert sum(LENGTHS[own]) >= min(1000, num_tokens)


def test_sources_are_taken_in_turn() -> None:
    counts = {"new/a": 7, "replay/g": 3}
    assert SubsetEpochs().sources(counts, [4, 4, 2], 0) == Interleaved().sources(counts, [4, 4, 2], 0)


def test_no_epoch_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        SubsetEpochs(num_epochs=0)
