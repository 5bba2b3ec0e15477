"""The domain law in sentences and plots."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from steps.core.curves import DOMAIN, GENERAL, GROUPS, Curve, panels_of
from steps.core.domain_laws import Laws


def refusal(laws: Laws, parameters: float, tokens: float, tolerance: float) -> str:
    """Why no ratio is recommended."""
    low, high = laws.ratios
    ends = [laws.losses(parameters, tokens, ratio)[GENERAL] / laws.starts[GENERAL] - 1 for ratio in (low, high)]
    return (
        f"domain-law: no share of new text from {low:g} to {high:g} keeps general loss within {tolerance:.1%} of its "
        f"start after {tokens:,.0f} tokens: it is predicted to change by {ends[0]:+.1%} at {low:g} and by "
        f"{ends[1]:+.1%} at {high:g}; run smaller ratios, raise plan.mixture.tolerance, lower the learning rate, or "
        "use `fixed` with more replay"
    )


def unfit(curves: Sequence[Curve], r2: Mapping[str, float], min_r2: float) -> str | None:
    """Why the laws are not used: a group's explains too little, perhaps because no such law can; none if both do."""
    low = {word: round(r2[name], 3) for name, word in GROUPS.items() if r2[name] < min_r2}
    if not low:
        return None
    rising = [curve.ratio for curve in curves if curve.mean(GENERAL)[-1] > curve.mean(GENERAL)[0]]
    why = ""
    if "general" in low and len(rising) * 2 > len(curves):
        listed = ", ".join(f"{ratio:g}" for ratio in rising)
        why = f"; general loss rose over the run at {listed} of new text, and this law can only fall with tokens"
    return (
        f"domain-law: wanted R2 of at least {min_r2:g}, found {low}{why}; run longer pilots, more seeds or more "
        "validation items, lower the learning rate or plan.mixture.min_r2; else use `critical-ratio` or `fixed`"
    )


def rises(laws: Laws, tokens: float) -> dict[str, tuple[float, float] | None]:
    """For each group where (D, share of its own text) its loss rises most with that share; none: nowhere."""
    low, high = laws.ratios
    used = {DOMAIN: (low, high), GENERAL: (1 - high, 1 - low)}
    places = (*laws.tokens, tokens)
    return {word: laws.surfaces[name].rises(places, used[name]) for name, word in GROUPS.items()}


def told(laws: Laws, ratio: float, parameters: float, tokens: float, tolerance: float | None) -> list[str]:
    """Why this ratio, and what is not to be trusted."""
    low, high = laws.ratios
    rise = laws.losses(parameters, tokens, ratio)[GENERAL] / laws.starts[GENERAL] - 1
    edge = ", the largest tested" if ratio >= high else ", the smallest tested" if ratio <= low else ""
    bound = "" if tolerance is None else f", at most {tolerance:.1%} being allowed"
    why = (
        f"Recommended share of new text {ratio:.3f} (replay {1 - ratio:.3f}){edge}: the least domain loss after "
        f"{tokens:,.0f} tokens; general loss changes by {rise:+.1%}{bound}."
    )
    found = [why]
    if laws.num_sizes == 1:
        found.append(
            "One model size was run: A / N^alpha cannot be told from E and is left out; predict no other size."
        )
    if tokens > laws.tokens[1] * 1.001:
        far = tokens / laws.tokens[1]
        found.append(f"The pilots saw {laws.tokens[1]:,.0f} tokens: the law is read {far:.1f} times as far.")
    for word, place in rises(laws, tokens).items():
        if place is not None:
            rising = (
                f"Do not trust the {word} law: its loss rises with the share of its own text (most at {place[1]:.2f}, "
                f"after {place[0]:,.0f} tokens), which no mixture should do; run more ratios or seeds."
            )
            found.append(rising)
    return found


def curves_of(
    laws: Laws, drawn: Sequence[Laws], curves: Sequence[Curve], unseen: Sequence[Curve], tokens: float, ratio: float
) -> dict[str, Any]:
    """Both laws over ratios and over tokens with their points, of the largest model that was run."""
    size = max(curve.num_parameters for curve in curves)
    shown = [curve for curve in curves if curve.num_parameters == size]

    def over_ratios(name: str, ratio_X: np.ndarray, after: float) -> np.ndarray:
        return np.stack([law.at(name, size, after, ratio_X) for law in (laws, *drawn)])

    def over_tokens(name: str, place: int, token_X: np.ndarray) -> np.ndarray:
        return laws.at(name, size, token_X, shown[place].ratio)

    alike = [curve for curve in unseen if curve.num_parameters == size]
    return panels_of(shown, alike, over_ratios, over_tokens, tokens, ratio)
