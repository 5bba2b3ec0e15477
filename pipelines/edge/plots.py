"""The pictures of a refresh: training, the change on the hold-out, the matrix version x task, the mixture; of a line.

Each returns a figure that belongs to nobody else: no window, no state shared between calls.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.edge.line import BASE, Line, Point
from steps.core.artifacts import Comparison, Gap, MatrixRow, Verdict

if TYPE_CHECKING:  # matplotlib is imported when a picture is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, GRID = "#22303c", "#77838f", "#e3e7ea"
COLOURS = ("#1f6f8b", "#e07a3f", "#5b8c5a", "#8d6a9f", "#c2a83e", "#b5495b", "#4a6fa5", "#7a7a7a")
ANSWERS = {"pass": "#3b8456", "undecided": "#c99a2e", "fail": "#b8403a"}
TRAINING, VALIDATION = "train/loss_nats_per_token", "train/validation_"  # as train names them
SHOWN_IN_FULL = 30  # steps; a longer run is also drawn as a running mean
SHOWN_COMPARISONS = 40
ABSOLUTE = ("average", "learning accuracy")  # drawn as changes: a loss itself lies far from what is learnt of it
CHANGE = {"nats": "change of loss in nats/token", "points": "points of the score that were lost"}
SHOWN_ROWS = 40  # versions in a matrix, the newest and the base
VERDICTS = {"accepted": ANSWERS["pass"], "undecided": ANSWERS["undecided"], "rejected": ANSWERS["fail"]}


def _figure(width: float, height: float, title: str) -> tuple["Figure", "Axes"]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(width, height), dpi=120, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _dress(axes, title)
    return figure, axes


def _dress(axes: "Axes", title: str) -> None:
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK, pad=12)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(side == "bottom")
        axes.spines[side].set_color(QUIET)
    axes.set_axisbelow(True)


def _say_nothing(axes: "Axes", why: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, why, ha="center", va="center", color=QUIET, transform=axes.transAxes)


def losses(history: Iterable[Mapping[str, float]]) -> "Figure":
    """Training loss per step, thin and as a running mean, and the losses on each task's validation items."""
    figure, axes = _figure(8.0, 4.4, "Loss while training")
    rows = [dict(row) for row in history]
    names = sorted({name for row in rows for name in row if name == TRAINING or name.startswith(VALIDATION)})
    held_out = {name: [(row["step"], row[name]) for row in rows if name in row] for name in names}
    whole = held_out.pop(TRAINING, [])
    if not whole and not held_out:
        _say_nothing(axes, "no steps")
        return figure
    if whole:
        steps, nats = [step for step, _ in whole], [value for _, value in whole]
        long = len(nats) > SHOWN_IN_FULL
        axes.plot(
            steps, nats, color=QUIET, lw=1.0 if long else 1.6, alpha=0.45 if long else 0.9, label="training batch"
        )
        if long:
            window = max(3, len(nats) // 15)
            axes.plot(steps, _running_mean(nats, window), color=INK, lw=2.0, label=f"training, mean of {window} steps")
    for place, (name, line) in enumerate(held_out.items()):
        colour = COLOURS[place % len(COLOURS)]
        axes.plot(
            *zip(*line, strict=True),
            color=colour,
            lw=1.8,
            marker="o",
            ms=5,
            label=f"validation: {name.removeprefix(VALIDATION)}",
        )
    axes.set_xlabel("optimiser step", color=INK)
    axes.set_ylabel("nats/token", color=INK)
    axes.grid(axis="y", color=GRID)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def stability_gap(history: Iterable[Mapping[str, float]], gaps: Mapping[str, Gap]) -> "Figure":
    """Each task's validation loss on the way, against its loss before training; shaded where it was worse."""
    figure, axes = _figure(8.0, 4.8, "Stability gap: validation loss over its value before training")
    rows = list(history)
    axes.axhline(0.0, color=INK, lw=1.0)
    for (task, gap), colour in zip(gaps.items(), itertools.cycle(COLOURS), strict=False):
        line = [(row["step"], row[f"{VALIDATION}{task}"]) for row in rows if f"{VALIDATION}{task}" in row]
        steps, rises = [step for step, _ in line], [loss - line[0][1] for _, loss in line]
        back = "never back" if gap.recovery_steps is None else f"back after {gap.recovery_steps:,} steps"
        words = f"{task}: {_signed(gap.depth_nats)}, {back}" if gap.depth_nats > 0 else f"{task}: never worse"
        axes.plot(steps, rises, color=colour, lw=1.8, marker="o", ms=4, label=words)
        worse = [rise > 0 for rise in rises]
        axes.fill_between(steps, rises, 0.0, where=worse, interpolate=True, color=colour, alpha=0.2, lw=0)
    axes.set_xscale("symlog", base=2, linthresh=1.0)  # the gap lies in the first steps
    axes.xaxis.set_major_formatter(_thousands)
    axes.set_xlim(left=0)
    axes.set_xlabel("optimiser step", color=INK)
    axes.set_ylabel("change in nats/token", color=INK)
    axes.grid(axis="y", color=GRID)
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    return figure


def _running_mean(values: Sequence[float], window: int) -> list[float]:
    return [sum(part := values[max(0, k + 1 - window) : k + 1]) / len(part) for k in range(len(values))]


def holdout_change(verdict: Verdict) -> "Figure":
    """Each comparison's change with its 95 % interval, against zero and its margin: losses, and below them scores.

    What failed or is open comes first; of the rest as many as can be read.
    """
    found = [each for each in verdict.comparisons if each.kind != "must-hold"]
    shown = sorted(found, key=lambda each: each.outcome == "pass")[:SHOWN_COMPARISONS]
    parts = [part for unit in CHANGE if (part := _forest(shown, unit))] or [[]]
    height = 1.7 + 0.42 * sum(max(2, len(part)) for part in parts) + 0.6 * (len(parts) - 1)
    title = f"Change on the hold-out, 95 % intervals: {verdict.outcome}"
    figure, top = _figure(9.0, height, title)
    if not found:
        _say_nothing(top, "nothing was compared")
        return figure
    figure.delaxes(top)
    grid = figure.add_gridspec(len(parts), 1, height_ratios=[max(2, len(part)) for part in parts])
    for place, part in enumerate(parts):
        axes = figure.add_subplot(grid[place])
        _dress(axes, title if place == 0 else "")
        _draw_forest(axes, part)
    if len(found) > len(shown):
        figure.text(0.01, 0.005, f"and {len(found) - len(shown):,} more that passed", fontsize=8, color=QUIET)
    return figure


def _forest(found: Sequence[Comparison], unit: str) -> list[Comparison]:
    own = [each for each in found if each.unit == unit]
    return sorted(own, key=lambda each: (each.kind, each.against != "champion", each.against, each.scope, each.task))


def _draw_forest(axes: "Axes", found: Sequence[Comparison]) -> None:
    unit = found[0].unit
    digits = 3 if unit == "nats" else 1
    axes.axvline(0.0, color=INK, lw=1.0)
    for place, each in enumerate(found):
        colour = ANSWERS[each.outcome]
        axes.plot([each.low, each.high], [place, place], color=colour, lw=2.4, solid_capstyle="round")
        axes.plot(each.change, place, "o", color=colour, ms=7, mec="white", mew=1.2)
        if each.margin:
            axes.plot([each.margin] * 2, [place - 0.32, place + 0.32], color=QUIET, lw=1.6, ls=(0, (2, 1)))
        words = f"{_signed(each.change, digits)} {each.outcome}"
        axes.text(1.02, place, words, transform=axes.get_yaxis_transform(), va="center", fontsize=9, color=colour)
    axes.set_yticks(range(len(found)), [_name(each) for each in found])
    axes.set_ylim(len(found) - 0.5, -0.6)
    axes.set_xlabel(f"{CHANGE[unit]} (left is better); dashed: the margin", color=INK)
    axes.grid(axis="x", color=GRID)
    axes.margins(x=0.08)


def _name(each: Comparison) -> str:
    if each.kind == "superiority":
        return f"{each.task}, fresh"
    beside = {"group": " (group)", "suite": "", "task": ", recent" if each.part == "recent" else ""}[each.scope]
    return f"{each.task}{beside} vs {each.against}"


def _signed(value: float, digits: int = 3) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def matrix(rows: Sequence[MatrixRow]) -> "Figure":
    """Loss of every version on every task's anchor set; colour is the change since the task's first score."""
    tasks = list(dict.fromkeys(task for row in rows for task in sorted(row.losses)))
    width, height = 2.6 + 1.5 * max(2, len(tasks)), 1.8 + 0.5 * max(2, len(rows))
    figure, axes = _figure(width, height, "Hold-out loss, version by task")
    if not tasks:
        _say_nothing(axes, "no scores")
        return figure
    first = {task: next(row.losses[task] for row in rows if task in row.losses) for task in tasks}
    change = [[row.losses.get(task, math.nan) - first[task] for task in tasks] for row in rows]
    reach = max(abs(value) for line in change for value in line if not math.isnan(value)) or 1.0
    image = axes.imshow(change, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto", alpha=0.75)
    for k, row in enumerate(rows):
        for j, task in enumerate(tasks):
            bold = "bold" if task in row.trained else "normal"
            words = f"{row.losses[task]:.3f}" if task in row.losses else "–"
            strong = abs(change[k][j]) > 0.75 * reach if task in row.losses else False
            axes.text(
                j, k, words, ha="center", va="center", fontsize=10, fontweight=bold, color="white" if strong else INK
            )
    axes.set_xticks(range(len(tasks)), tasks, rotation=0 if max(map(len, tasks)) < 15 else 20)
    axes.set_yticks(range(len(rows)), [row.version for row in rows])
    axes.set_xlabel("nats/token; bold: trained on in that version", color=INK)
    axes.spines["bottom"].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.03)
    bar.set_label("change since its first score", color=INK, fontsize=9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=0)
    return figure


def mixture(planned: Mapping[str, int], achieved: Mapping[str, int]) -> "Figure":
    """Loss tokens of each source, planned beside achieved, with their shares."""
    sources = sorted({*planned, *achieved})
    figure, axes = _figure(8.0, 1.6 + 0.62 * max(2, len(sources)), "Training mixture, planned and achieved")
    if not sources:
        _say_nothing(axes, "no sources")
        return figure
    most = max([*planned.values(), *achieved.values(), 1])
    for offset, name, counts, colour in (
        (-0.19, "planned", planned, "#b9c6ce"),
        (0.19, "achieved", achieved, COLOURS[0]),
    ):
        total = sum(counts.values()) or 1
        tokens = [counts.get(source, 0) for source in sources]
        axes.barh([place + offset for place in range(len(sources))], tokens, height=0.34, color=colour, label=name)
        for place, number in enumerate(tokens):
            words = f"{number:,}  ({100 * number / total:.1f} %)"
            axes.text(number + 0.01 * most, place + offset, words, va="center", fontsize=8.5, color=INK)
    axes.set_yticks(range(len(sources)), sources)
    axes.set_ylim(len(sources) - 0.5, -0.5)
    axes.set_xlim(0, 1.25 * most)
    axes.xaxis.set_major_formatter(_thousands)
    axes.set_xlabel("loss tokens", color=INK)
    axes.grid(axis="x", color=GRID)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def _thousands(value: float, _: Any) -> str:
    return f"{value:,.0f}"


def line_matrix(line: Line) -> "Figure":
    """The matrix of a whole line: every version with its verdict, the champion marked."""
    shown = [*line.points[:1], *line.points[1:][-SHOWN_ROWS:]]
    return matrix([point.row.model_copy(update={"version": _called(point, line.champion)}) for point in shown])


def _called(point: Point, champion: str) -> str:
    if point.version == BASE:
        return BASE
    return f"★ {point.version} champion" if point.version == champion else f"{point.version} {point.verdict}"


def curves(line: Line) -> "Figure":
    """The loss of each task over the versions: the champion's line of parents drawn through, what left it hollow.

    A vertical line marks each version that `champion` moved to; a red one was moved back to.
    """
    figure, axes = _figure(9.0, 4.8, "Hold-out loss over the versions of the line")
    if not line.points:
        _say_nothing(axes, "no versions")
        return figure
    place = {point.version: k for k, point in enumerate(line.points)}
    through = _through(line)
    for task, colour in zip(line.tasks, itertools.cycle(COLOURS)):
        seen = {p.version: (place[p.version], p.losses[task]) for p in line.points if task in p.losses}
        if kept := [at for version, at in seen.items() if version in through]:
            axes.plot(*zip(*kept, strict=True), color=colour, lw=2.0, marker="o", ms=6, label=task)
        for point in line.points:
            if point.version in seen and point.version not in through:
                _branch(axes, seen.get(point.parent), seen[point.version], colour, point.verdict)
    _mark_moves(axes, line, place)
    ticks = range(0, len(line.points), max(1, len(line.points) // 16))
    names = ["\n".join(_called(line.points[k], line.champion).rsplit(" ", 1)) for k in ticks]
    axes.set_xticks(list(ticks), names, fontsize=8)
    axes.set_xlabel("version; hollow: not on the champion's line", color=INK)
    axes.set_ylabel("nats/token", color=INK)
    axes.grid(axis="y", color=GRID)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def learning(line: Line) -> "Figure":
    """What the matrix says of each version: what was learnt beside what was forgotten, both ways of counting it."""
    figure, axes = _figure(9.0, 4.8, "Learnt and forgotten over the versions of the line")
    names = list(dict.fromkeys(name for point in line.points for name in point.transfer if name not in ABSOLUTE))
    if not names:
        _say_nothing(axes, "no versions")
        return figure
    axes.axhline(0.0, color=INK, lw=1.0)
    for name, colour in zip(names, itertools.cycle(COLOURS), strict=False):
        seen = [(point.step, point.transfer[name]) for point in line.points if name in point.transfer]
        axes.plot(*zip(*seen, strict=True), color=colour, lw=2.0, marker="o", ms=5, label=name)
    for name, colour in zip(ABSOLUTE, (INK, QUIET), strict=True):
        seen = [(point.step, point.transfer[name]) for point in line.points if name in point.transfer]
        if seen:
            at = [(step, value - seen[0][1]) for step, value in seen]
            axes.plot(*zip(*at, strict=True), color=colour, lw=1.6, ls="--", label=f"{name}, since the first version")
    axes.xaxis.set_major_formatter(_thousands)
    axes.set_xlabel("version, accepted or not", color=INK)
    axes.set_ylabel("nats/token of −loss, mean over tasks", color=INK)
    axes.grid(axis="y", color=GRID)
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    return figure


def _branch(axes: "Axes", parent: tuple[int, float] | None, at: tuple[int, float], colour: str, verdict: str) -> None:
    if parent:
        axes.plot(*zip(parent, at, strict=True), color=colour, lw=1.0, ls=":", alpha=0.8)
    axes.plot(*at, "o", ms=6, mfc="white", mec=VERDICTS.get(verdict, QUIET), mew=1.8)


def _mark_moves(axes: "Axes", line: Line, place: Mapping[str, int]) -> None:
    said: dict[str, list[str]] = {}
    for move in line.moves:
        back = move.before is not None and place.get(move.after, 0) < place.get(move.before, 0)
        said.setdefault(move.after, []).append("moved back" if back else "champion")
    for version, words in said.items():
        if version in place:
            colour = ANSWERS["fail"] if "moved back" in words else QUIET
            axes.axvline(place[version], color=colour, lw=1.0, ls=(0, (4, 3)), alpha=0.7, zorder=0)
            at: dict[str, Any] = {"ha": "right", "va": "top", "rotation": 90, "transform": axes.get_xaxis_transform()}
            axes.text(place[version], 1.0, ", ".join(words[-3:]), fontsize=7.5, color=colour, **at)


def _through(line: Line) -> set[str]:
    """The champion, its parent, and so on down to the base."""
    parents = {point.version: point.parent for point in line.points}
    version, found = line.champion, set[str]()
    while version and version not in found:
        found.add(version)
        version = parents.get(version, "")
    return found
