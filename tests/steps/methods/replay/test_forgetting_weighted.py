import pytest
from pydantic import ValidationError

from steps.methods.replay.balanced import Balanced
from steps.methods.replay.forgetting_weighted import ForgettingWeighted
from tests.steps.methods.replay.entries import NOTHING_KNOWN, entries, risen, run, tasks_of

TWO = [*entries(0, 30, "code"), *entries(0, 30, "law")]
EQUAL = risen(code=-0.2, law=0.0)


def test_a_task_that_was_forgotten_gets_more_and_the_weights_are_told() -> None:
    memory = run(ForgettingWeighted(capacity=5), [TWO], evidence=risen(code=-0.2, law=0.3))
    assert tasks_of(memory) == {"code": 1, "law": 4}  # 0 + 0.1 to 0.3 + 0.1
    assert memory.told["task code"] == pytest.approx({"rise_nats": -0.2, "weight": 0.2, "places": 1})
    assert memory.told["task law"] == pytest.approx({"rise_nats": 0.3, "weight": 0.8, "places": 4})
    assert {entry.why for entry in memory.entries} == {"task code", "task law"}


def test_what_a_task_cannot_fill_flows_to_the_others() -> None:
    offered = [*entries(0, 2, "code"), *entries(0, 30, "law")]
    assert tasks_of(run(ForgettingWeighted(capacity=20), [offered], evidence=risen(code=9.0))) == {"code": 2, "law": 18}


def test_a_task_without_validation_items_counts_as_not_forgotten() -> None:
    memory = run(ForgettingWeighted(capacity=8), [TWO], evidence=risen(law=0.2))
    assert tasks_of(memory) == {"code": 2, "law": 6}


def test_where_no_loss_rose_it_is_balanced_by_task() -> None:
    refreshes = [TWO, entries(30, 50, "law", 2), entries(0, 9, "news", 3)]
    ours, theirs = (
        run(method, refreshes, evidence=EQUAL) for method in (ForgettingWeighted(capacity=11), Balanced(capacity=11))
    )
    assert ours.entries == theirs.entries


def test_as_the_floor_grows_it_nears_equal_room() -> None:
    memory = run(ForgettingWeighted(capacity=20, floor_nats=1e9), [TWO], evidence=risen(code=5.0))
    assert memory.told["task law"]["weight"] == pytest.approx(0.5, abs=1e-5)


def test_a_task_that_gains_room_fills_it_with_what_comes() -> None:
    method = ForgettingWeighted(capacity=10)
    memory = run(method, [TWO], evidence=risen(law=0.9))
    assert tasks_of(memory) == {"code": 1, "law": 9}
    after = method.update(memory, [], entries(30, 60, "code", 2), risen(code=0.9), seed=0)
    assert tasks_of(after) == {"code": 9, "law": 1}
    assert sum(entry.refresh == 2 for entry in after.entries) >= 8


def test_nothing_is_asked_when_there_is_nothing_to_hold() -> None:
    assert run(ForgettingWeighted(capacity=3), [[]], evidence=NOTHING_KNOWN).entries == ()


def test_the_same_seed_draws_the_same_and_another_seed_another() -> None:
    draws = [run(ForgettingWeighted(capacity=10), [TWO], seed, EQUAL).keys for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("knobs", [{"capacity": 0}, {"capacity": 5, "floor_nats": 0.0}, {"capacity": 5, "floor": 1}])
def test_bad_knobs_are_refused(knobs: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ForgettingWeighted.model_validate(knobs)
