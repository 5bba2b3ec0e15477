"""The picture of what changed in the weights: layer by kind of matrix."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.edge.plots import INK, QUIET

if TYPE_CHECKING:  # matplotlib is imported when a picture is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OUTSIDE = "outside"
SHOWN_IN_CELLS = 400  # cells; with more, numbers would not be read
Row = Mapping[str, Any]  # a line of matrices.jsonl
PANELS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("relative", "update norm, % of the parent's", lambda value: f"{100 * value:.2g}"),
    ("effective_rank", "effective rank of the update", lambda value: f"{value:.0f}"),
    ("intruders", "intruder dimensions", lambda value: f"{value:.0f}"),
)


def weight_heat(rows: Iterable[Row]) -> "Figure":
    """Relative update norm, effective rank and intruders of every matrix; grey where it is not known."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    matrices = [row for row in rows if len(row["shape"]) == 2]
    layers, kinds = places(matrices)
    width, height = 2.2 + 3 * (1.0 + 0.55 * max(3, len(kinds))), 2.2 + 0.24 * max(4, len(layers))
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(width, height), dpi=100, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(
        "What changed in the weights, layer by kind of matrix", x=0.01, ha="left", fontweight="bold", color=INK
    )
    for place, (field, title, words) in enumerate(PANELS, 1):
        axes = figure.add_subplot(1, len(PANELS), place)
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        _panel(axes, grid(matrices, layers, kinds, field), words)
        axes.set_xticks(range(len(kinds)), kinds, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
        axes.set_yticks(range(len(layers)), layers if place == 1 else [""] * len(layers), fontsize=8)
        axes.tick_params(colors=INK, length=0)
    return figure


def places(matrices: Sequence[Row]) -> tuple[list[str], list[str]]:
    """The layers in their order, what is outside of them last; the kinds by their names, likewise."""
    within = {row["layer"] for row in matrices if row["layer"] is not None}
    layers = [str(layer) for layer in sorted(within)]
    kinds = sorted({row["kind"] for row in matrices if row["layer"] is not None})
    if others := sorted({row["kind"] for row in matrices if row["layer"] is None}):
        return [*layers, OUTSIDE], [*kinds, *(kind for kind in others if kind not in kinds)]
    return layers, kinds


def grid(matrices: Sequence[Row], layers: Sequence[str], kinds: Sequence[str], field: str) -> list[list[float]]:
    """The values by layer and kind, the mean where a layer has several of a kind; not a number where none is known."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in matrices:
        if row[field] is not None:
            layer = OUTSIDE if row["layer"] is None else str(row["layer"])
            found.setdefault((layer, row["kind"]), []).append(float(row[field]))
    cells = {place: math.fsum(values) / len(values) for place, values in found.items()}
    return [[cells.get((layer, kind), math.nan) for kind in kinds] for layer in layers]


def _panel(axes: "Axes", values: list[list[float]], words: Callable[[float], str]) -> None:
    known = [value for line in values for value in line if not math.isnan(value)]
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    if not known:
        axes.text(0.5, 0.5, "not measured", ha="center", va="center", color=QUIET, transform=axes.transAxes)
        return
    most = max(known) or 1.0
    axes.set_facecolor("#e8ebee")
    axes.imshow(values, cmap="YlOrRd", vmin=0.0, vmax=most, aspect="auto", alpha=0.85)
    if len(values) * len(values[0]) > SHOWN_IN_CELLS:
        return
    for k, line in enumerate(values):
        for j, value in enumerate(line):
            if not math.isnan(value):
                colour = "white" if value > 0.75 * most else INK
                axes.text(j, k, words(value), ha="center", va="center", fontsize=7, color=colour)
