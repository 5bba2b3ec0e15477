"""The picture of a sweep: what each coefficient gains and harms, and what it does to every task."""

from typing import TYPE_CHECKING

from pipelines.edge.plots import ANSWERS, COLOURS, GRID, INK, QUIET
from steps.core.front import Front

if TYPE_CHECKING:  # matplotlib is imported when a picture is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def front(found: Front) -> "Figure":
    """Left: gain on the tasks trained on against harm to the worst task. Right: every task's change by coefficient."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(11.0, 4.6), dpi=120, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    what = f"{found.rule['method']}, {found.knob}"
    _dress(left, f"The front of {what}", "harm to the worst task, nats/token", "gain on new text, nats/token")
    _dress(right, "Change of each task on validation", what, "change of loss, nats/token")
    _draw_front(left, found)
    _draw_tasks(right, found)
    return figure


def _dress(axes: "Axes", title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK, pad=12)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(side == "bottom")
        axes.spines[side].set_color(QUIET)
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)


def _draw_front(axes: "Axes", found: Front) -> None:
    points = sorted(found.points, key=lambda point: point.value)
    places = [(point.harm(found.caution), point.gain(found.trained)) for point in points]
    axes.plot(*zip(*places, strict=True), color=QUIET, lw=1.2, zorder=1)
    axes.axvline(found.margin_nats, color=ANSWERS["fail"], lw=1.2, ls="--", label=f"margin, {found.margin_nats:g}")
    for point, place in zip(points, places, strict=True):
        taken = point == found.chosen
        kind = "pass" if point in found.within else "fail"
        axes.scatter(*place, s=110 if taken else 45, color=ANSWERS[kind], edgecolor=INK if taken else "white", zorder=2)
        axes.annotate(
            f"{point.value:g}{' taken' if taken else ''}",
            place,
            xytext=(7, 5),
            textcoords="offset points",
            fontsize=9,
            fontweight="bold" if taken else "normal",
            color=INK,
        )
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="best")


def _draw_tasks(axes: "Axes", found: Front) -> None:
    points = sorted(found.points, key=lambda point: point.value)
    axes.axhline(0.0, color=QUIET, lw=1.0)
    axes.axhline(found.margin_nats, color=ANSWERS["fail"], lw=1.2, ls="--")
    axes.axvline(found.chosen.value, color=INK, lw=1.0, ls=":")
    tasks = sorted({task for point in points for task in point.changes})
    for place, task in enumerate(tasks):
        axes.errorbar(
            [point.value for point in points],
            [point.changes[task].mean_nats for point in points],
            yerr=[found.caution * point.changes[task].error_nats for point in points],
            color=COLOURS[place % len(COLOURS)],
            lw=1.8,
            marker="o",
            ms=5,
            capsize=2,
            label=f"{task} (trained on)" if task in found.trained else task,
        )
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="best")
