"""What pilots showed, ratio by ratio: loss curves, their draws for a bootstrap, what is written and plotted of them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steps.core.laws import interpolated

DOMAIN, GENERAL = "(domain)", "(general)"  # the means over train tasks and over replay-only tasks, beside the tasks
GROUPS = {GENERAL: "general", DOMAIN: "domain"}
PLACES = 61  # of a plotted line
SHARE, LOSS = "share of new text", "nats per token"


@dataclass(frozen=True)
class Curve:
    """The runs at one share of new text: S seeds, T validations after the start.

    `tokens`: loss tokens at each [T]. `losses`: task or group -> nats per token [S, T]. `starts`: the same -> nats per
    token before training. `num_parameters`: of the model.
    """

    ratio: float
    tokens: np.ndarray
    losses: Mapping[str, np.ndarray]
    starts: Mapping[str, float]
    num_parameters: int = 1

    def mean(self, name: str) -> np.ndarray:
        """Loss [T], the mean over seeds."""
        return np.asarray(self.losses[name].mean(axis=0))


def draws_of(
    curves: Sequence[Curve], fitted: Mapping[str, Sequence[np.ndarray]], num_draws: int, seed: int
) -> dict[str, list[np.ndarray]]:
    """Curves as they might have been: name -> for each ratio losses [B, T], B draws.

    With several seeds, the mean of as many runs, their deviations from the mean drawn from all ratios; with one, the
    fitted curve and residuals drawn from its own. Tasks of one run are drawn together.
    """
    random = np.random.default_rng(seed)
    found: dict[str, list[np.ndarray]] = {name: [] for name in fitted}
    for place, curve in enumerate(curves):
        num_seeds, num_points = next(iter(curve.losses.values())).shape
        if num_seeds == 1:
            index_BT = random.integers(num_points, size=(num_draws, num_points))
            for name in fitted:
                fitted_T = fitted[name][place]
                found[name].append(fitted_T + (curve.losses[name][0] - fitted_T)[index_BT])
            continue
        pool = [other for other in curves if next(iter(other.losses.values())).shape == (num_seeds, num_points)]
        index_BS = random.integers(len(pool) * num_seeds, size=(num_draws, num_seeds))
        for name in fitted:
            apart = np.concatenate([other.losses[name] - other.mean(name) for other in pool])
            apart *= math.sqrt(num_seeds / (num_seeds - 1))
            found[name].append(curve.mean(name) + apart[index_BS].mean(axis=1))
    return found


def held_out_rows(
    held_out: Sequence[Curve],
    curves: Sequence[Curve],
    roles: Mapping[str, str],
    predicted: Callable[[str, float, float], float],
) -> list[dict[str, Any]]:
    """Prediction beside truth at the end of runs that were not fitted, by group and task.

    `predicted(name, ratio, tokens)`. `roles`: name -> `domain` or `general`, groups and tasks.
    """
    rows = []
    for curve in held_out:
        tokens = float(curve.tokens[-1])
        alike = [other for other in curves if other.num_parameters == curve.num_parameters]
        for name, role in roles.items():
            ends = [float(other.mean(name)[-1]) for other in alike]
            rows.append(
                {
                    "group": role,
                    "task": None if name in GROUPS else name,
                    "ratio": curve.ratio,
                    "tokens": tokens,
                    "start": curve.starts[name],
                    "actual": float(curve.mean(name)[-1]),
                    "predicted": predicted(name, curve.ratio, tokens),
                    "interpolated": interpolated(curve.ratio, [other.ratio for other in alike], ends),
                }
            )
    return rows


def change_error(rows: Sequence[Mapping[str, Any]], group: str, guess: str = "predicted") -> float | None:
    """|guess - actual| / |actual - start| over the held-out rows of a group, without tasks; none without rows.

    `guess`: `predicted`, `interpolated` or `start` ("no change", which gives 1).
    """
    found = [row for row in rows if row["group"] == group and row["task"] is None]
    change = sum(abs(row["actual"] - row["start"]) for row in found)
    return sum(abs(row[guess] - row["actual"]) for row in found) / change if change else None


def line(label: str, x: np.ndarray, y: np.ndarray, band: np.ndarray | None = None) -> dict[str, Any]:
    """A line of a panel; `band` [B, X] are draws of it, drawn as their 90 % interval."""
    found = {"label": label, "x": np.asarray(x).tolist(), "y": np.asarray(y).tolist()}
    if band is not None and len(band) and np.isfinite(band).all():
        low, high = np.quantile(band, [0.05, 0.95], axis=0)
        found |= {"low": low.tolist(), "high": high.tolist()}
    return found


def dots(
    label: str, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, held_out: bool = False
) -> dict[str, Any]:
    """Points of a panel."""
    return {"label": label, "x": np.asarray(x).tolist(), "y": np.asarray(y).tolist(), "held_out": held_out}


def panel(title: str, x: str, y: str, lines: list[Any], points: list[Any], marks: Sequence[Any] = ()) -> dict[str, Any]:
    """What to plot in one frame; see steps/core/laws.py."""
    return {"title": title, "x": x, "y": y, "lines": lines, "points": points, "marks": list(marks)}


def panels_of(
    curves: Sequence[Curve],
    unseen: Sequence[Curve],
    over_ratios: Callable[[str, np.ndarray, float], np.ndarray],
    over_tokens: Callable[[str, int, np.ndarray], np.ndarray],
    tokens: float,
    ratio: float,
) -> dict[str, Any]:
    """Both groups over ratios, at the pilots' end and after `tokens`, and over tokens, with the points behind them.

    `over_ratios(group, ratios [X], tokens)` gives draws [B, X], the first the law itself; `over_tokens(group, place of
    the curve, tokens [X])` gives [X].
    """
    ratio_X = np.linspace(curves[0].ratio, curves[-1].ratio, PLACES)
    end = float(np.mean([curve.tokens[-1] for curve in curves]))
    found = {}
    for name, word in GROUPS.items():
        drawn = over_ratios(name, ratio_X, end)
        lines = [line(word, ratio_X, drawn[0], drawn[1:])]
        if tokens > end * 1.001:
            lines.append(line(f"{word}, after {tokens:,.0f} tokens", ratio_X, over_ratios(name, ratio_X, tokens)[0]))
        points = [dots(word, [curve.ratio for curve in curves], [curve.mean(name)[-1] for curve in curves])]
        if unseen:
            ends = [curve.mean(name)[-1] for curve in unseen]
            points.append(dots(f"{word}, held out", [curve.ratio for curve in unseen], ends, held_out=True))
        title, mark = f"{word.capitalize()} loss after {end:,.0f} tokens", {"label": "recommended", "x": ratio}
        found[f"{word}-ratio"] = panel(title, SHARE, LOSS, lines, points, [mark])
    for name, word in GROUPS.items():
        lines, points = [], []
        for place, curve in enumerate(curves):
            token_X = np.linspace(curve.tokens[0], curve.tokens[-1], PLACES)
            lines.append(line(f"{curve.ratio:g} new", token_X, over_tokens(name, place, token_X)))
            points.append(dots(f"{curve.ratio:g} new", curve.tokens, curve.mean(name)))
        found[f"{word}-tokens"] = panel(f"{word.capitalize()} loss over tokens", "loss tokens", LOSS, lines, points)
    return found
