"""The pictures of planning: the laws that pilots follow with their points, and what a plan predicted."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pipelines.edge.plots import COLOURS, GRID, INK, QUIET

if TYPE_CHECKING:  # matplotlib is imported when a picture is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2
VALIDATION = "train/validation_"  # as train names it


def _canvas(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, height), dpi=100, layout=ConstrainedLayoutEngine(), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _dress(axes: "Axes", title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(side == "bottom")
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)


def laws(content: Mapping[str, Any]) -> "Figure":
    """Every panel of a `plan.json` (`steps/core/laws.py`): lines with their bands, points, held-out points hollow."""
    panels = list(content.get("curves", {}).values())
    rows = max(1, math.ceil(len(panels) / COLUMNS))
    figure = _canvas(6.0 * min(COLUMNS, max(1, len(panels))), 4.2 * rows)
    for place, panel in enumerate(panels, 1):
        _panel(figure.add_subplot(rows, min(COLUMNS, len(panels)), place), panel)
    if not panels:
        figure.add_subplot().set_axis_off()
        figure.text(0.5, 0.5, "the method drew nothing", ha="center", va="center", color=QUIET)
    return figure


def _panel(axes: "Axes", panel: Mapping[str, Any]) -> None:
    _dress(axes, panel["title"], panel["x"], panel["y"])
    colours: dict[str, str] = {}

    def colour(label: str) -> str:
        return colours.setdefault(label.partition(",")[0], COLOURS[len(colours) % len(COLOURS)])

    for line in panel.get("lines", ()):
        again = line["label"].partition(",")[0] in colours  # the same loss once more, such as after the full run
        shade = colour(line["label"])
        axes.plot(line["x"], line["y"], color=shade, lw=1.8, ls="--" if again else "-", label=line["label"])
        if line.get("low") and line.get("high"):
            axes.fill_between(line["x"], line["low"], line["high"], color=shade, alpha=0.15, lw=0)
    for points in panel.get("points", ()):
        shade = colour(points["label"])
        hollow = points.get("held_out", False)
        named = (
            {} if points["label"] in {line["label"] for line in panel.get("lines", ())} else {"label": points["label"]}
        )
        axes.plot(points["x"], points["y"], "o", ms=5.5, mec=shade, mfc="white" if hollow else shade, mew=1.4, **named)
    for number, mark in enumerate(panel.get("marks", ())):
        axes.axvline(mark["x"], color=QUIET, lw=1.2, ls=(0, (4, 3)), zorder=0)
        where: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "ha": "right", "va": "top", "rotation": 90}
        axes.text(mark["x"], 0.98 - 0.3 * (number % 2), mark["label"], fontsize=8, color=QUIET, **where)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles, labels, frameon=False, fontsize=8)


def predictions(predicted: Mapping[str, float], history: Iterable[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Task -> loss at the start, as planned, and in the end, of the tasks that were predicted and validated."""
    rows = list(history)
    found = {}
    for task in sorted(predicted):
        seen = [row[VALIDATION + task] for row in rows if VALIDATION + task in row]
        if seen:
            found[task] = {"start": seen[0], "predicted": predicted[task], "actual": seen[-1]}
    return found


def predicted_and_actual(found: Mapping[str, Mapping[str, float]]) -> "Figure":
    """Each task's validation loss before training, as the plan predicted it, and after training."""
    figure = _canvas(8.0, 1.6 + 0.6 * max(2, len(found)))
    axes = figure.add_subplot()
    _dress(axes, "Validation loss, predicted by the plan and actual", "nats/token", "")
    looks = {"start": (QUIET, "white"), "predicted": (COLOURS[1], "white"), "actual": (COLOURS[0], COLOURS[0])}
    for name, (edge, face) in looks.items():
        values = [losses[name] for losses in found.values()]
        axes.plot(values, range(len(values)), "o", ms=9, mec=edge, mfc=face, mew=2, label=name, ls="none")
    axes.set_yticks(range(len(found)), list(found))
    axes.set_ylim(len(found) - 0.5, -0.5)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure
