"""The picture of what changed in the weights."""

import math
from typing import Any

import pytest

from pipelines.edge.change_plots import OUTSIDE, PANELS, grid, places, weight_heat


def row(layer: int | None, kind: str, relative: float | None = 0.1, **others: Any) -> dict[str, Any]:
    known = {"effective_rank": 3.0, "intruders": 1, "shape": [4, 4]}
    return {"layer": layer, "kind": kind, "relative": relative, **known, **others}


ROWS = [row(layer, kind, 0.01 * layer) for layer in (10, 2, 0) for kind in ("q", "down")] + [row(None, "embed", 0.5)]


def test_layers_and_kinds_are_in_their_order_and_what_is_outside_comes_last() -> None:
    assert places(ROWS) == (["0", "2", "10", OUTSIDE], ["down", "q", "embed"])
    assert places(ROWS[:-1]) == (["0", "2", "10"], ["down", "q"])


def test_a_cell_is_its_matrix_the_mean_of_several_or_unknown() -> None:
    experts = [row(0, "experts.*.up", value) for value in (0.1, 0.3)]
    broken = row(1, "q", None)
    found = grid([*experts, broken], ["0", "1"], ["experts.*.up", "q"], "relative")
    assert found[0][0] == pytest.approx(0.2)
    assert [math.isnan(value) for line in found for value in line] == [False, True, True, True]


def test_the_picture_has_a_panel_for_each_measure_and_numbers_in_its_cells() -> None:
    figure = weight_heat([*ROWS, row(0, "norm", shape=[4])])
    assert [axes.get_title(loc="left") for axes in figure.axes] == [title for _, title, _ in PANELS]
    first = figure.axes[0]
    assert [label.get_text() for label in first.get_yticklabels()] == ["0", "2", "10", OUTSIDE]
    assert {text.get_text() for text in first.texts} == {"0", "2", "10", "50"}


@pytest.mark.parametrize(
    "rows", [[], [row(0, "q", None, effective_rank=None, intruders=None)]], ids=["nothing", "nothing known"]
)
def test_what_was_not_measured_says_so(rows: list[dict[str, Any]]) -> None:
    figure = weight_heat(rows)
    assert [axes.texts[0].get_text() for axes in figure.axes] == ["not measured"] * 3
    figure.canvas.draw()


def test_many_layers_are_colours_alone() -> None:
    figure = weight_heat([row(layer, kind) for layer in range(80) for kind in "abcdefg"])
    assert not any(axes.texts for axes in figure.axes)
    figure.canvas.draw()
