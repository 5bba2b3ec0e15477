from pathlib import Path

from steps.core.front import FRONT, Change, Front, Point, read_front
from steps.core.shards import write_json


def point(value: float, new: float, old: float, error: float = 0.0) -> Point:
    """New text's and general text's change, nats/token."""
    return Point(
        value=value,
        changes={
            "law": Change(mean_nats=new, error_nats=error, num_items=10),
            "wiki": Change(mean_nats=old, error_nats=error, num_items=10),
        },
    )


def front(*points: Point, caution: float = 1.0) -> Front:
    return Front(
        rule={"method": "linear", "weight": 0.5},
        knob="weight",
        margin_nats=0.05,
        caution=caution,
        trained=("law",),
        points=points,
    )


def test_the_point_of_most_gain_within_the_margin_is_taken() -> None:
    found = front(point(0.25, -0.1, 0.01), point(0.5, -0.3, 0.04), point(1.0, -0.9, 0.4))
    assert found.chosen.value == 0.5
    assert [each.value for each in found.within] == [0.25, 0.5]
    said = "linear at weight 0.5: most gain on law (0.300 nats/token on validation) with every task within 0.05"
    assert found.say() == said


def test_standard_errors_make_it_cautious() -> None:
    points = (point(0.25, -0.1, 0.01, error=0.02), point(0.5, -0.3, 0.04, error=0.02))
    assert front(*points).chosen.value == 0.25
    assert front(*points, caution=0.0).chosen.value == 0.5


def test_a_task_trained_on_that_loses_counts_as_any_other() -> None:
    assert front(point(0.25, 0.06, 0.0), point(0.5, 0.01, 0.0)).chosen.value == 0.5


def test_where_none_is_within_the_margin_the_least_harm_is_taken_and_said() -> None:
    found = front(point(0.5, -0.3, 0.2), point(0.25, -0.1, 0.1))
    assert (found.chosen.value, found.within) == (0.25, [])
    assert "no value of weight keeps every task within 0.05 nats/token on validation (wiki: +0.100)" in found.say()


def test_of_equal_gains_the_one_that_harms_less_is_taken() -> None:
    assert front(point(1.0, -0.3, 0.03), point(0.5, -0.3, 0.01)).chosen.value == 0.5


def test_it_is_read_back_from_beside_the_model(tmp_path: Path) -> None:
    written = front(point(0.5, -0.3, 0.04))
    write_json(tmp_path / FRONT, written.model_dump(mode="json"))
    assert read_front(tmp_path / "model") == written
    assert read_front(tmp_path / "elsewhere" / "model") is None
