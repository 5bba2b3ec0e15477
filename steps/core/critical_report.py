"""The critical ratio in sentences and plots."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from steps.core.critical import Choice, CriticalLaw
from steps.core.curves import GENERAL, PLACES, SHARE, Curve, dots, line, panel, panels_of

FAR = 4.2  # times the pilots' tokens: a budget farther away is not foretold


def refusal(law: CriticalLaw, choice: Choice, tokens: float, epsilon: float) -> str:
    """Why no ratio is recommended: what the data showed, and what to run instead."""
    ratios = f"{law.ratios[0]:g} to {law.ratios[-1]:g}"
    start, ends_R = law.starts[GENERAL], law.losses_at(GENERAL, law.unit_tokens)[0]
    seen = f"general loss went from {start:.4f} to between {ends_R.min():.4f} and {ends_R.max():.4f} nats per token"
    if choice.bound == "rising":
        rises = law.points[0] >= tokens
        many = "at every ratio" if rises.all() else "at the smallest ratio"
        return (
            f"critical-ratio: no share of new text ({ratios}) is feasible within {tokens:,.0f} tokens: {many} general "
            f"loss still rises within the {law.unit_tokens:,.0f} tokens seen ({seen}); run longer pilots "
            "(plan.mixture.pilot_tokens), smaller ratios, or use `fixed` with more replay"
        )
    return (
        f"critical-ratio: no tested share of new text ({ratios}) keeps general loss within epsilon {epsilon:g} of its "
        f"start after {tokens:,.0f} tokens ({seen} after {law.unit_tokens:,.0f} tokens); run smaller ratios, raise "
        "plan.mixture.epsilon, lower the learning rate, or use `fixed` with more replay"
    )


def told(law: CriticalLaw, choice: Choice, tokens: float, epsilon: float) -> list[str]:
    """Why this ratio."""
    rows = zip(law.ratios, law.points[0], law.firm, strict=True)
    kinds = [f"{ratio:g} {_kind(point)}{'' if firm else ' (hardly more than noise)'}" for ratio, point, firm in rows]
    top = law.ratios[-1]
    why = {
        "critical": f"the law over turning points gives {choice.critical:.3f} for {tokens:,.0f} tokens",
        "turned": f"{choice.critical:g} and all smaller ratios have turned by {tokens:,.0f} tokens, the next one has "
        "not; too few turning points for a law between them",
        "tolerance": f"above it general loss would end more than {epsilon:g} nats per token over its start",
        "tested": f"{top:g} is the largest ratio tested, and feasible; a larger one may be too",
    }[choice.bound]
    found = [
        f"General loss by share of new text: {', '.join(kinds)}.",
        f"Recommended share of new text {choice.ratio:.3f} (replay {1 - choice.ratio:.3f}): {why}.",
    ]
    if choice.ratio < law.ratios[0]:
        found.append(f"That lies below the smallest ratio tested, {law.ratios[0]:g}: an extrapolation.")
    if tokens > law.unit_tokens * 1.001:
        found.append(
            f"The pilots saw {law.unit_tokens:,.0f} tokens; losses at {tokens:,.0f} go on from their slopes, "
            f"{tokens / law.unit_tokens:.1f} times as far."
        )
    return found


def _kind(point: float) -> str:
    if point == 0:
        return "falls from the start"
    return f"turns after {point:,.0f} tokens" if np.isfinite(point) else "rises throughout"


def trusted(law: CriticalLaw, choice: Choice, tokens: float, chosen: np.ndarray) -> bool:
    """Whether the recommendation rests on ratios, turning points and tokens near those seen, and most draws agree."""
    points = [point for point in law.points[0][law.firm] if 0 < point < np.inf]
    near = choice.bound != "critical" or (min(points) / 2 <= tokens <= 2 * max(points))
    inside = law.ratios[0] <= choice.ratio <= law.ratios[-1] and tokens <= FAR * law.unit_tokens
    return bool(near and inside and np.isnan(chosen).sum() * 10 <= len(chosen))


def doubts(chosen: np.ndarray) -> list[str]:
    """How many draws of the bootstrap gave no ratio."""
    without = int(np.isnan(chosen).sum())
    return [f"In {without} of {len(chosen)} draws of the pilots no ratio was feasible."] if without else []


def curves_of(
    law: CriticalLaw,
    drawn: CriticalLaw,
    curves: Sequence[Curve],
    unseen: Sequence[Curve],
    choice: Choice,
    tokens: float,
) -> dict[str, Any]:
    """Both laws over ratios with their points, both over tokens, and the critical points."""

    def over_ratios(name: str, ratio_X: np.ndarray, after: float) -> np.ndarray:
        fitted = law.over_ratios(name, after)
        return np.concatenate([fitted.at(ratio_X), drawn.over_ratios(name, after, near=fitted).at(ratio_X)])

    def over_tokens(name: str, place: int, token_X: np.ndarray) -> np.ndarray:
        return np.asarray(law.starts[name] + law.powers[name][place].at(token_X / law.unit_tokens)[0])

    panels = panels_of(curves, unseen, over_ratios, over_tokens, tokens, choice.ratio)
    turned_R = (law.points[0] > 0) & np.isfinite(law.points[0]) & law.firm
    critical = law.critical(0)
    if turned_R.any():
        token_X = np.geomspace(law.points[0][turned_R].min(), max(tokens, law.points[0][turned_R].max()), PLACES)
        lines = (
            [line("critical ratio", token_X, np.clip(critical.at(token_X / law.unit_tokens)[0], 0, 1))]
            if critical
            else []
        )
        points = [dots("critical ratio", law.points[0][turned_R], law.ratios[turned_R])]
        budget = {"label": "budget", "x": tokens}
        panels["critical"] = panel("Critical ratio over tokens", "loss tokens", SHARE, lines, points, [budget])
    return panels
