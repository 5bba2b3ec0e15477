"""The pictures of planning hold every line and point that they are given."""

from typing import Any

from pipelines.edge.pilot_plots import laws, predicted_and_actual, predictions

PANEL: dict[str, Any] = {
    "title": "Loss over the ratio",
    "x": "share of new text",
    "y": "nats per token",
    "lines": [{"label": "general", "x": [0.1, 0.9], "y": [3.0, 3.2], "low": [2.9, 3.1], "high": [3.1, 3.3]}],
    "points": [
        {"label": "general", "x": [0.1, 0.9], "y": [3.0, 3.2], "held_out": False},
        {"label": "general", "x": [0.5], "y": [3.1], "held_out": True},
    ],
    "marks": [{"label": "critical ratio", "x": 0.6}],
}


def test_a_law_is_drawn_with_its_band_its_points_and_its_marks() -> None:
    axes = laws({"curves": {"ratio": PANEL, "general": PANEL}}).axes
    assert [each.get_title(loc="left") for each in axes] == ["Loss over the ratio"] * 2
    line, seen, held_out, mark = axes[0].lines
    assert line.get_color() == seen.get_markeredgecolor() == held_out.get_markeredgecolor()
    assert (seen.get_markerfacecolor(), held_out.get_markerfacecolor()) == (line.get_color(), "white")
    assert list(mark.get_xdata()) == [0.6, 0.6]
    assert len(axes[0].collections) == 1, "the band"


def test_a_plan_without_curves_says_so() -> None:
    assert [text.get_text() for text in laws({}).texts] == ["the method drew nothing"]


def test_predictions_stand_beside_the_last_validation_of_the_tasks_that_have_one() -> None:
    history = [
        {"step": 0, "train/validation_law": 3.0},
        {"step": 1, "train/loss_nats_per_token": 2.0},
        {"step": 2, "train/validation_law": 2.5},
    ]
    found = predictions({"law": 2.6, "unseen": 1.0}, history)
    assert found == {"law": {"start": 3.0, "predicted": 2.6, "actual": 2.5}}
    drawn = predicted_and_actual(found).axes[0].lines
    assert [list(line.get_xdata()) for line in drawn] == [[3.0], [2.6], [2.5]]
