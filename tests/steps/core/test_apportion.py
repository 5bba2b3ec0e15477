from hypothesis import given
from hypothesis import strategies as st

from steps.core.apportion import apportion


def test_the_largest_remainder_takes_what_is_left() -> None:
    assert apportion(10, {"a": 1, "b": 1, "c": 2}, {}) == {"a": 3, "b": 2, "c": 5}  # 2.5, 2.5, 5: the first name


def test_what_one_cannot_hold_flows_to_the_others_by_their_weights() -> None:
    assert apportion(100, {"a": 2, "b": 1, "c": 1}, {"a": 20}) == {"a": 20, "b": 40, "c": 40}


def test_nothing_is_spread_over_nobody() -> None:
    assert apportion(0, {}, {}) == {}


@given(
    weights=st.dictionaries(st.sampled_from("abcdef"), st.floats(0.001, 1000), min_size=1),
    room=st.fixed_dictionaries({name: st.integers(1, 500) for name in "abcdef"}),
    part=st.floats(0, 1),
)
def test_the_sum_is_exact_and_no_room_is_exceeded(weights: dict[str, float], room: dict[str, int], part: float) -> None:
    total = int(part * sum(room[name] for name in weights))
    found = apportion(total, weights, room)
    assert sum(found.values()) == total
    assert all(0 <= found[name] <= room[name] for name in weights)
