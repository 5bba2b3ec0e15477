"""The plots of an MLflow run: built without global state, each answering one question at a glance."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from steps.core.artifacts import MatrixRow, Verdict

BLUE, RED, GREY, GREEN = "#2b6cb0", "#c53030", "#718096", "#2f855a"


def _figure(width: float, height: float, title: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def losses(history: Sequence[Mapping[str, float]]) -> Figure:
    """Training loss per step, and validation loss per task where it was measured; nats/token."""
    figure, axes = _figure(8, 4, "Training and validation loss")
    train = [(row["step"], row["train/loss_nats_per_token"]) for row in history if "train/loss_nats_per_token" in row]
    if train:
        axes.plot(*zip(*train, strict=True), color=GREY, linewidth=1.2, label="training")
    names = sorted({key for row in history for key in row if key.startswith("train/validation_")})
    for name in names:
        found = [(row["step"], row[name]) for row in history if name in row]
        axes.plot(*zip(*found, strict=True), marker="o", linewidth=1.8, label=name.removeprefix("train/validation_"))
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("nats per token")
    axes.legend(frameon=False, fontsize=8)
    return figure


def holdout_change(verdict: Verdict) -> Figure:
    """The change of each task against the champion and the references, with its interval and its margin."""
    rows = [c for c in verdict.comparisons if c.kind == "non-inferiority"]
    figure, axes = _figure(8, 1.4 + 0.5 * len(rows), f"Change of hold-out loss: {verdict.outcome}")
    for place, row in enumerate(reversed(rows)):
        colour = {"pass": GREEN, "fail": RED, "undecided": "#b7791f"}[row.outcome]
        axes.plot([row.low_nats, row.high_nats], [place, place], color=colour, linewidth=2.5, solid_capstyle="round")
        axes.plot(row.change_nats, place, "o", color=colour)
        axes.plot([row.margin_nats] * 2, [place - 0.3, place + 0.3], color=RED, linewidth=1.2, linestyle=":")
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(range(len(rows)), [f"{row.task}\nagainst {row.against}" for row in reversed(rows)], fontsize=8)
    axes.set_xlabel("nats per token; left of 0 is better, dotted: the margin")
    return figure


def matrix(rows: Sequence[MatrixRow]) -> Figure:
    """Version x task: the anchor losses as a heat map, each column coloured from its best to its worst."""
    tasks = sorted({task for row in rows for task in row.losses})
    figure, axes = _figure(2.5 + 1.5 * len(tasks), 1.6 + 0.45 * len(rows), "Loss on the anchor sets, nats per token")
    shade = [[_shade(rows, row, task) for task in tasks] for row in rows]
    axes.imshow(shade, cmap="RdYlGn_r", vmin=0, vmax=1, aspect="auto", alpha=0.6)
    for y, row in enumerate(rows):
        for x, task in enumerate(tasks):
            if task in row.losses:
                bold = "bold" if task in row.trained else "normal"
                axes.text(x, y, f"{row.losses[task]:.3f}", ha="center", va="center", fontsize=9, fontweight=bold)
    axes.set_xticks(range(len(tasks)), tasks, fontsize=8)
    axes.set_yticks(range(len(rows)), [row.version for row in rows], fontsize=8)
    axes.set_ylabel("version (bold: trained on)")
    return figure


def _shade(rows: Sequence[MatrixRow], row: MatrixRow, task: str) -> float:
    column = [other.losses[task] for other in rows if task in other.losses]
    if task not in row.losses or max(column) == min(column):
        return 0.5
    return (row.losses[task] - min(column)) / (max(column) - min(column))


def mixture(planned: Mapping[str, int], achieved: Mapping[str, int]) -> Figure:
    """Loss tokens of each source, planned beside achieved."""
    names = sorted(planned)
    figure, axes = _figure(8, 1.4 + 0.6 * len(names), "Mixture: loss tokens planned and achieved")
    for place, name in enumerate(reversed(names)):
        axes.barh(place + 0.18, planned[name], height=0.34, color=GREY, label="planned" if place == 0 else None)
        axes.barh(
            place - 0.18, achieved.get(name, 0), height=0.34, color=BLUE, label="achieved" if place == 0 else None
        )
        axes.text(achieved.get(name, 0), place - 0.18, f" {achieved.get(name, 0):,}", va="center", fontsize=8)
    axes.set_yticks(range(len(names)), list(reversed(names)), fontsize=8)
    axes.set_xlabel("loss tokens")
    axes.legend(frameon=False, fontsize=8)
    return figure
