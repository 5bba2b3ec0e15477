from collections import Counter

import pytest
from pydantic import ValidationError

from steps.methods.replay import Entry, Memory
from steps.methods.replay._shared import lowest
from steps.methods.replay.general import General
from tests.steps.methods.replay.entries import NOTHING_KNOWN, entries, names, run

SEEDS = 2000


def general(first: int, last: int, refresh: int = 1) -> list[Entry]:
    return entries(first, last, "general", refresh, general=True)


def test_the_lowest_lots_among_general_documents_are_held_in_the_order_in_which_they_came() -> None:
    offered = [*entries(0, 3), *general(0, 5)]
    memory = run(General(capacity=2), [offered])
    assert list(memory.keys) == sorted(names(lowest(general(0, 5), 2, seed=0)))
    assert {entry.why for entry in memory.entries} == {"the fixed set of general texts"}


def test_the_set_is_the_same_in_every_refresh_once_it_is_full() -> None:
    refreshes = [general(10 * number, 10 * number + 4, number + 1) for number in range(200)]
    full = run(General(capacity=7), refreshes[:2])
    assert len(full.keys) == 7
    assert run(General(capacity=7), refreshes) == full


def test_the_set_fills_up_over_refreshes() -> None:
    sizes = [len(run(General(capacity=6), [general(0, 4), general(4, 8)][:count]).keys) for count in (1, 2)]
    assert sizes == [4, 6]


def test_only_a_stale_document_is_replaced_and_a_new_text_takes_the_place_of_its_old_one() -> None:
    full = run(General(capacity=3), [general(0, 10)])
    first, second, third = full.keys
    after = General(capacity=3).update(
        full, [first, second], [*general(10, 20, 2), full.entries[0]._replace(refresh=2)], NOTHING_KNOWN, seed=0
    )
    assert [entry.key for entry in after.entries if entry.refresh == 1] == [third]
    assert {entry.key for entry in after.entries if entry.refresh == 2} > {first}
    assert len(after.entries) == 3


def test_every_document_is_as_likely_as_any_other() -> None:
    counts: Counter[str] = Counter()
    for seed in range(SEEDS):
        counts.update(run(General(capacity=4), [general(0, 16)], seed).keys)
    error = (0.25 * 0.75 / SEEDS) ** 0.5
    assert all(abs(counts[name] / SEEDS - 0.25) < 4.5 * error for name in names(general(0, 16)))


def test_with_room_for_all_every_general_document_is_held_and_without_any_nothing_is() -> None:
    assert list(run(General(), [general(0, 9), general(9, 12)]).keys) == names(general(0, 12))
    assert run(General(), [entries(0, 9)]).keys == ()


def test_what_another_method_held_of_other_tasks_leaves() -> None:
    memory = Memory((*entries(0, 3), *general(0, 2)))
    assert list(General().update(memory, [], [], NOTHING_KNOWN, seed=0).keys) == names(general(0, 2))


def test_the_seed_that_draws_first_draws_always() -> None:
    draws = [run(General(capacity=5), [general(0, 50)], seed).keys for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    half = run(General(capacity=5), [general(0, 3)], seed=1)
    ends = [General(capacity=5).update(half, [], general(3, 50), NOTHING_KNOWN, seed) for seed in (1, 2)]
    assert ends[0] == ends[1]


def test_a_capacity_that_was_lowered_keeps_a_part() -> None:
    full = run(General(capacity=8), [general(0, 20)])
    assert set(run(General(capacity=3), [full.entries]).keys) < set(full.keys)


def test_a_set_of_no_documents_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        General(capacity=0)
