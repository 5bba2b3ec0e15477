from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from steps.methods.replay import Entry, Memory
from steps.methods.replay.reservoir import Reservoir
from tests.steps.methods.replay.entries import NOTHING_KNOWN, entries, names

SEEDS = 4000


def keys(first: int, last: int) -> list[str]:
    return names(entries(first, last))


def update(capacity: int, memory: Memory, stale: list[str], offered: list[Entry], seed: int) -> Memory:
    return Reservoir(capacity=capacity).update(memory, stale, offered, NOTHING_KNOWN, seed)


def held_share(counts: Counter[str], names: list[str]) -> np.ndarray:
    return np.array([counts[name] for name in names]) / SEEDS


def near(share: np.ndarray, wanted: float) -> bool:
    """All shares within 4.5 standard errors of a binomial share."""
    return bool((np.abs(share - wanted) < 4.5 * np.sqrt(wanted * (1 - wanted) / SEEDS)).all())


def test_everything_is_held_while_there_is_room() -> None:
    memory = update(5, Memory(), [], entries(0, 5), seed=0)
    assert memory.keys == tuple(keys(0, 5))
    assert memory.counts == {"seen": 5, "current": 5, "gone_held": 0, "gone_unheld": 0}


def test_each_of_n_documents_is_held_with_probability_c_over_n() -> None:
    counts: Counter[str] = Counter()
    for seed in range(SEEDS):
        counts.update(update(8, Memory(), [], entries(0, 40), seed).keys)
    assert near(held_share(counts, keys(0, 40)), 8 / 40)


def test_it_makes_no_difference_over_how_many_refreshes_they_came() -> None:
    counts: Counter[str] = Counter()
    for seed in range(SEEDS):
        memory = Memory()
        for start in range(0, 40, 10):
            memory = update(8, memory, [], entries(start, start + 10), seed)
        counts.update(memory.keys)
    assert near(held_share(counts, keys(0, 40)), 8 / 40)


def test_the_sample_stays_uniform_when_documents_go_stale() -> None:
    counts: Counter[str] = Counter()
    for seed in range(SEEDS):
        memory = update(8, Memory(), [], entries(0, 30), seed)
        memory = update(8, memory, keys(0, 15), entries(30, 50), seed)
        counts.update(memory.keys)
    assert not any(counts[name] for name in keys(0, 15))
    assert near(held_share(counts, keys(15, 50)), 8 / 35)


@pytest.mark.parametrize("seed", range(20))
def test_a_stale_text_is_never_held_again_and_the_room_is_not_exceeded(seed: int) -> None:
    memory = update(6, Memory(), [], entries(0, 20), seed)
    held = list(memory.keys[:3])
    after = update(6, memory, held, entries(20, 24), seed)
    assert not set(after.keys) & set(held)
    assert len(after.keys) <= 6
    assert len(set(after.keys)) == len(after.keys)


def test_a_document_that_changed_leaves_and_comes() -> None:
    memory = update(3, Memory(), [], entries(0, 2), seed=0)
    after = update(3, memory, ["t000"], entries(0, 1, refresh=2), seed=0)
    assert sorted((entry.key, entry.refresh) for entry in after.entries) == [("t000", 2), ("t001", 1)]
    assert after.counts["current"] == 2


def test_a_capacity_that_was_lowered_keeps_a_part_and_one_that_was_raised_fills_up() -> None:
    memory = update(10, Memory(), [], entries(0, 30), seed=1)
    smaller = update(4, memory, [], [], seed=1)
    assert len(smaller.keys) == 4
    assert set(smaller.keys) < set(memory.keys)
    assert len(update(6, smaller, [], entries(30, 40), seed=1).keys) == 6


def test_the_same_seed_draws_the_same_and_another_seed_another() -> None:
    draws = [update(5, Memory(), [], entries(0, 50), seed).keys for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_a_buffer_of_no_documents_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        Reservoir(capacity=0)
