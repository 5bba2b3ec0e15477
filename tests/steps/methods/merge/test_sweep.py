from dataclasses import replace
from pathlib import Path

import pytest

from steps.core.front import FRONT, Change, Front, Reading
from steps.core.models import digest_of_model
from steps.methods.merge import Sources
from steps.methods.merge.linear import Linear
from steps.methods.merge.sweep import Sweep
from tests.steps.methods.merge.models import row_of, row_sources, sources

FOUR = {"over": "linear", "values": [0.25, 0.5, 0.75, 1.0], "margin_nats": 0.06}


def changes(model: Path, reading: Reading) -> dict[str, Change]:
    """A row of one weight w: the new task gains w, the old one loses a fifth of w squared."""
    (w,) = row_of(model)
    return {
        "new": Change(mean_nats=-w, error_nats=0.0, num_items=9),
        "old": Change(mean_nats=0.2 * w * w, error_nats=0.0, num_items=9),
    }


def one_weight(folder: Path) -> Sources:
    return replace(row_sources(folder, [1.0]), trained_on=("new",), changes=changes)


def test_the_largest_weight_that_keeps_the_old_task_is_taken(tmp_path: Path) -> None:
    made = Sweep.model_validate(FOUR).merge(one_weight(tmp_path), tmp_path / "out")
    assert row_of(made) == [0.5], "0.2 * 0.5² = 0.05 is within 0.06, 0.2 * 0.75² = 0.11 is not"
    front = Front.model_validate_json((made / FRONT).read_text(encoding="utf-8"))
    assert [point.value for point in front.points] == [0.25, 0.5, 0.75, 1.0]
    assert [round(point.gain(front.trained), 6) for point in front.points] == [0.25, 0.5, 0.75, 1.0]
    assert front.chosen.value == 0.5


def test_where_every_weight_harms_too_much_the_least_harmful_is_taken(tmp_path: Path) -> None:
    made = Sweep.model_validate({**FOUR, "margin_nats": 0.001}).merge(one_weight(tmp_path), tmp_path / "out")
    assert row_of(made) == [0.25]


def test_another_knob_is_swept(tmp_path: Path) -> None:
    rule = Sweep.model_validate({"over": "layer-scaling", "knob": "deepest", "values": [0.5, 1.0], "margin_nats": 1.0})
    made = rule.merge(one_weight(tmp_path), tmp_path / "out")
    assert row_of(made) == [0.5], "a model of one block has no deepest one: its weight is that of the first"


def test_at_one_value_it_is_the_rule_itself_exactly(tmp_path: Path) -> None:
    given = replace(sources(tmp_path), trained_on=("new",), changes=lambda *_: changes_of_nothing())
    one = Sweep.model_validate({"over": "linear", "values": [0.3]}).merge(given, tmp_path / "one")
    (one / FRONT).unlink()
    assert digest_of_model(one) == digest_of_model(Linear(weight=0.3).merge(given, tmp_path / "other"))


def changes_of_nothing() -> dict[str, Change]:
    return {"new": Change(mean_nats=0.0, error_nats=0.0, num_items=1)}


def test_nothing_is_left_of_the_points(tmp_path: Path) -> None:
    Sweep.model_validate(FOUR).merge(one_weight(tmp_path), tmp_path / "out")
    assert not list(tmp_path.glob(".*"))


def test_a_rule_without_that_coefficient_is_refused() -> None:
    with pytest.raises(ValueError, match="wanted a rule with the coefficient 'weight', found none with none"):
        Sweep.model_validate({"over": "none"})
    with pytest.raises(ValueError, match="found average with num_checkpoints"):
        Sweep.model_validate({"over": "average"})


def test_a_value_that_the_rule_does_not_take_is_refused() -> None:
    with pytest.raises(ValueError, match=r"linear takes no weight of 1\.5: Input should be less than or equal to 1"):
        Sweep.model_validate({"over": "linear", "values": [0.5, 1.5]})


def test_a_sweep_of_a_sweep_is_refused() -> None:
    with pytest.raises(ValueError, match="found sweep"):
        Sweep.model_validate({"over": {"method": "sweep", "over": "linear"}, "knob": "margin_nats"})


def test_without_validation_items_of_new_text_there_is_nothing_to_choose_by(tmp_path: Path) -> None:
    given = replace(one_weight(tmp_path), trained_on=("other",))
    with pytest.raises(
        ValueError, match=r"trained on \(other\), found them of new, old; raise split\.validation_share"
    ):
        Sweep.model_validate(FOUR).merge(given, tmp_path / "out")


def test_a_recipe_writes_it_and_reads_it_back() -> None:
    rule = Sweep.model_validate({"over": {"method": "ties", "density": 0.4}, "values": [0.5, 1.0]})
    written = rule.model_dump(mode="json")
    assert written["over"]["method"] == "ties"
    assert Sweep.model_validate({key: value for key, value in written.items() if key != "method"}) == rule


def test_the_items_are_read_as_the_recipe_says(tmp_path: Path) -> None:
    readings: list[Reading] = []

    def noted(model: Path, reading: Reading) -> dict[str, Change]:
        readings.append(reading)
        return changes(model, reading)

    knobs = {**FOUR, "values": [0.5], "validation_items": 7, "validation_tokens": 9, "labelled": "plain"}
    Sweep.model_validate(knobs).merge(replace(one_weight(tmp_path), changes=noted), tmp_path / "out")
    assert readings == [Reading(num_items=7, num_tokens=9, labelled="plain")]
