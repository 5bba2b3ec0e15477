import numpy as np
import pytest
from pydantic import ValidationError

from steps.methods.replay import Memory
from steps.methods.replay._shared import apportioned, lowest
from steps.methods.replay.balanced import Balanced
from tests.steps.methods.replay.entries import NOTHING_KNOWN, entries, names, run, tasks_of

SEEDS = 2000
THREE = [*entries(0, 1, "code"), *entries(0, 10, "law"), *entries(0, 10, "news")]


def test_places_go_by_weight_and_what_a_group_cannot_fill_flows_to_the_others() -> None:
    assert apportioned(9, {"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 10, "c": 10}) == {"a": 1, "b": 4, "c": 4}
    assert apportioned(10, {"a": 2, "b": 1}, {"a": 3, "b": 9}) == {"a": 3, "b": 7}
    assert apportioned(10, {"a": 0.5, "b": 0.25, "c": 0.25}, {"a": 9, "b": 9, "c": 9}) == {"a": 5, "b": 3, "c": 2}
    assert apportioned(10, {"a": 1, "b": 0}, {"a": 3, "b": 4}) == {"a": 3, "b": 4}
    assert apportioned(3, {}, {}) == {}


def test_every_task_has_the_same_room_and_a_small_one_leaves_its_own_to_the_others() -> None:
    memory = run(Balanced(capacity=9), [THREE])
    assert tasks_of(memory) == {"code": 1, "law": 4, "news": 4}
    assert {entry.why for entry in memory.entries if entry.task == "law"} == {"task law"}


@pytest.mark.parametrize(("capacity", "wanted"), [(9, [3, 3, 3]), (10, [3, 3, 4]), (2, [0, 1, 1])])
def test_every_refresh_has_the_same_room_and_the_newest_the_rest(capacity: int, wanted: list[int]) -> None:
    refreshes = [entries(10 * number, 10 * number + 10, refresh=number + 1) for number in range(3)]
    memory = run(Balanced(capacity=capacity, by="age"), refreshes)
    came = [entry.refresh for entry in memory.entries]
    assert [came.count(refresh) for refresh in (1, 2, 3)] == wanted
    assert memory.counts == {"seed": 0}


def test_one_group_is_a_uniform_sample_over_however_many_refreshes_it_came() -> None:
    counts = np.zeros(20)
    for seed in range(SEEDS):
        memory = run(Balanced(capacity=5), [entries(0, 8), entries(8, 14), entries(14, 20)], seed)
        assert sorted(memory.keys) == sorted(names(lowest(entries(0, 20), 5, seed)))
        counts[[int(key[1:]) for key in memory.keys]] += 1
    assert np.abs(counts / SEEDS - 0.25).max() < 4.5 * np.sqrt(0.25 * 0.75 / SEEDS)


def test_a_task_that_lost_documents_does_not_lean_to_the_new() -> None:
    counts = np.zeros(60)
    for seed in range(SEEDS):
        memory = run(Balanced(capacity=8), [entries(0, 40)], seed)
        after = Balanced(capacity=8).update(memory, names(entries(0, 30)), entries(40, 60), NOTHING_KNOWN, seed)
        counts[[int(key[1:]) for key in after.keys]] += 1
    old, new = counts[30:40].mean() / SEEDS, counts[40:].mean() / SEEDS
    assert counts[:30].sum() == 0
    assert new == pytest.approx(old, rel=1 / 41 + 0.03)  # filled with whatever comes it would be 0.19 and 0.30


def test_everything_is_held_while_there_is_room() -> None:
    assert list(run(Balanced(capacity=21), [THREE]).keys) == names(THREE)


def test_a_new_task_takes_its_room_from_the_others() -> None:
    memory = run(Balanced(capacity=6), [entries(0, 10, "law"), entries(0, 10, "news")])
    assert tasks_of(memory) == {"law": 3, "news": 3}
    assert set(memory.keys[:3]) < set(run(Balanced(capacity=6), [entries(0, 10, "law")]).keys)


def test_the_seed_that_draws_first_draws_always() -> None:
    draws = [run(Balanced(capacity=5), [entries(0, 50)], seed).keys for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    first = run(Balanced(capacity=5), [entries(0, 50)], seed=1)
    ends = [Balanced(capacity=5).update(first, [], entries(50, 90), NOTHING_KNOWN, seed) for seed in (1, 2)]
    assert ends[0] == ends[1]


def test_a_capacity_that_was_lowered_keeps_a_part() -> None:
    memory = run(Balanced(capacity=9), [THREE])
    assert tasks_of(Balanced(capacity=3).update(memory, [], [], NOTHING_KNOWN, 0)) == {"code": 1, "law": 1, "news": 1}


def test_nothing_comes_of_nothing() -> None:
    assert run(Balanced(capacity=3), [[]]) == Memory((), {"seed": 0})


@pytest.mark.parametrize("knobs", [{"capacity": 0}, {"capacity": 5, "by": "size"}, {}])
def test_bad_knobs_are_refused(knobs: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Balanced.model_validate(knobs)
