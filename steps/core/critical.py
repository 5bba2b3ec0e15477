"""The critical mixture ratio (CMR): the largest share of new text whose general loss has turned and stays in bounds.

Symbols of arXiv:2407.17467: R the share of new text, T loss tokens, dL the change of a loss since the start, lambda the
weight of the general loss in F = L_dom + lambda (L_gen - L_gen(start) - epsilon). B draws are handled side by side; the
law itself is the case B = 1. The paper counts T in units of 100 steps; here it is tokens over `unit_tokens`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from steps.core.curves import DOMAIN, GENERAL, GROUPS, Curve, draws_of
from steps.core.laws import Powers, fit_powers, last_crossing, r_squared

TOKEN_EXPONENTS = (-2.0, 2.0)
RATIO_EXPONENTS = (-4.0, 10.0)  # general loss bends up sharply where replay ends
CRITICAL_EXPONENTS = (-4.0, 4.0)  # table 5 of the paper: -0.42 to 0.27
NEAR = 2.0  # a turning point up to so many times the tokens seen counts; farther out it is a guess
ROOT = 0.5  # the largest exponent of a law that is read beyond its points
MIN_RATIOS = 4  # a law over ratios has three parameters
MIN_POINTS = 7  # validations of a run: a law of two powers has five parameters
MIN_PAIRS = 3  # turning points: eq. 8 has three parameters


@dataclass(frozen=True)
class CriticalLaw:
    """Fits of B draws over R `ratios`, ascending. Names are tasks and both groups.

    `roles`: name -> `domain` or `general`. `starts`: name -> loss. `unit_tokens`: those of the pilots, the unit of T.
    `powers`: name -> for each ratio the change over tokens. `points`: T0 in tokens [B, R]; 0: general loss falls from
    the start; inf: it rises throughout. `firm` [R]: the curves are fitted well enough for T0 to count in eq. 8.
    """

    ratios: np.ndarray
    unit_tokens: float
    roles: Mapping[str, str]
    starts: Mapping[str, float]
    powers: Mapping[str, Sequence[Powers]]
    points: np.ndarray
    firm: np.ndarray

    def losses_at(self, name: str, tokens: float) -> np.ndarray:
        """Losses [B, R] after so many tokens, by the laws over tokens, which even out single validations.

        Beyond the pilots' end they go on from their slope there, one power no faster than a root and two as a
        logarithm: fits of short runs bend, and four times as far they would bend out of sight.
        """
        place = tokens / self.unit_tokens
        changes = [_change(law, place) for law in self.powers[name]]
        return np.asarray(self.starts[name] + np.stack(changes, axis=1))

    def over_ratios(self, name: str, tokens: float, near: Powers | None = None) -> Powers:
        """L(R) = a R^s + b after so many tokens."""
        return fit_powers(self.ratios, self.losses_at(name, tokens), RATIO_EXPONENTS, near)

    def critical(self, draw: int) -> Powers | None:
        """R(T) = a T^s + b through the turning points, T in `unit_tokens`; none if they are too few or fall."""
        point_R = self.points[draw]
        turned_R = np.isfinite(point_R) & (point_R > 0) & self.firm
        if turned_R.sum() < MIN_PAIRS or len(np.unique(point_R[turned_R])) < MIN_PAIRS:
            return None
        ratio_R = self.ratios[turned_R]
        law = fit_powers(point_R[turned_R] / self.unit_tokens, ratio_R[None], CRITICAL_EXPONENTS)
        return law if (law.factors * law.exponents)[0, 0] > 0 else None


def _change(law: Powers, place: float) -> np.ndarray:
    if place <= 1:
        return np.asarray(law.at(place)[:, 0])
    step_B: Any = np.log(place)
    if law.exponents.shape[1] == 1:
        exponent_B = np.minimum(law.exponents[:, 0], ROOT)
        step_B = np.expm1(exponent_B * np.log(place)) / exponent_B
    return np.asarray(law.at(1.0)[:, 0] + law.slope(1.0)[:, 0] * step_B)


@dataclass(frozen=True)
class Choice:
    """A recommended ratio and what bounds it; NaN: there is none.

    `critical`: R by eq. 8, or the largest tested ratio that has turned. `allowed`: the largest within the tolerance.
    """

    ratio: float
    bound: Literal["critical", "turned", "tolerance", "tested", "rising", "intolerable"]
    critical: float
    allowed: float


def choose(law: CriticalLaw, tokens: float, epsilon: float, draw: int = 0, general: Powers | None = None) -> Choice:
    """The largest ratio that is feasible after so many tokens (def. 3), of one draw; no larger than any tested."""
    general = general or law.over_ratios(GENERAL, tokens)
    top = float(law.ratios[-1])
    feasible_R = law.points[draw] < tokens
    line = law.critical(draw)
    bound: Literal["critical", "turned", "tested"] = "tested"
    by_law = float(np.clip(line.at(tokens / law.unit_tokens)[0, 0], 0, 1)) if line else np.nan
    if feasible_R.all():
        critical = max(top, by_law) if line else top
    elif line is not None:
        critical, bound = by_law, "critical"
    elif feasible_R[0]:
        critical, bound = float(law.ratios[np.argmin(feasible_R) - 1]), "turned"
    else:
        critical = 0.0
    allowed = _allowed(general, draw, law.starts[GENERAL] + epsilon, float(law.ratios[0]), top)
    if not critical > 0:
        return Choice(np.nan, "rising", critical, allowed)
    if not np.isfinite(allowed):
        return Choice(np.nan, "intolerable", critical, allowed)
    if allowed < min(critical, top):
        return Choice(allowed, "tolerance", critical, allowed)
    if general.at(min(critical, top))[draw, 0] > law.starts[GENERAL] + epsilon:  # it falls as new text grows
        return Choice(np.nan, "intolerable", critical, allowed)
    return Choice(min(critical, top), bound if critical <= top else "tested", critical, allowed)


def _allowed(general: Powers, draw: int, limit: float, low: float, top: float) -> float:
    """The largest ratio whose general loss keeps the limit, none above those tested; NaN: the smallest breaks it."""
    one = Powers(general.factors[draw][None], general.exponents[draw][None], general.constant[draw][None])
    at_low, at_top = one.at(np.array([low, top]))[0]
    if at_top <= limit:
        return top
    if at_low > limit:
        return np.nan
    return float(((limit - one.constant[0]) / one.factors[0, 0]) ** (1 / one.exponents[0, 0]))


def critical_points(domain: Sequence[Powers], general: Sequence[Powers], lambda_: float, first: float) -> np.ndarray:
    """T0 [B, R] in units of the pilots' tokens: where F last turns from rising to falling (eq. 7).

    Rooted where F' is seen or nearly so: from the `first` validation to `NEAR` times the last. 0: F falls all along;
    inf: F rises at the end.
    """
    place_T = np.geomspace(first, NEAR, 400)
    seen = int(np.searchsorted(place_T, 1.0))
    columns = []
    for one, other in zip(domain, general, strict=True):
        slopes_BT = one.slope(place_T) + lambda_ * other.slope(place_T)
        point_B = last_crossing(slopes_BT, place_T)
        if len(slopes_BT) == 1 and np.isfinite(point_B[0]):
            point_B = np.array([_root(one, other, lambda_, float(point_B[0]), place_T[1] / place_T[0])])
        rises_B = np.where(np.isfinite(point_B) & (point_B > 1), False, slopes_BT[:, seen] > 0)
        columns.append(np.where(rises_B, np.inf, np.nan_to_num(point_B, nan=0.0)))
    return np.stack(columns, axis=1)


def _root(one: Powers, other: Powers, lambda_: float, near: float, step: float) -> float:
    from scipy.optimize import brentq

    def slope(place: float) -> float:
        return float(one.slope(place)[0, 0] + lambda_ * other.slope(place)[0, 0])

    return float(brentq(slope, near / step, near * step, xtol=1e-15, rtol=1e-12))


def fit_critical(curves: Sequence[Curve], roles: Mapping[str, str], lambda_: float, min_r2: float = 0.0) -> CriticalLaw:
    """The law of some curves, in ascending order of their ratios; `min_r2` of those whose T0 is firm."""
    starts = {name: float(np.mean([curve.starts[name] for curve in curves])) for name in roles}
    losses = {name: [curve.mean(name)[None] for curve in curves] for name in roles}
    law = _fitted(curves, losses, roles, starts, lambda_, None)
    r2 = quality(law, curves)
    return replace(law, firm=np.array([min(r2[name][curve.ratio] for name in GROUPS) >= min_r2 for curve in curves]))


def draw_critical(curves: Sequence[Curve], law: CriticalLaw, lambda_: float, num_draws: int, seed: int) -> CriticalLaw:
    """The laws of draws of the curves: a bootstrap."""
    fitted = {name: fitted_over_tokens(law, curves, name) for name in law.roles}
    drawn = draws_of(curves, fitted, num_draws, seed)
    return replace(_fitted(curves, drawn, law.roles, law.starts, lambda_, law), firm=law.firm)


def fitted_over_tokens(law: CriticalLaw, curves: Sequence[Curve], name: str) -> list[np.ndarray]:
    """For each ratio the fitted losses [T] at its validations."""
    pairs = zip(law.powers[name], curves, strict=True)
    return [law.starts[name] + powers.at(curve.tokens / law.unit_tokens)[0] for powers, curve in pairs]


def quality(law: CriticalLaw, curves: Sequence[Curve]) -> dict[str, dict[float, float]]:
    """R2 of the fits over tokens: name -> ratio -> R2."""
    return {
        name: {
            curve.ratio: r_squared(curve.mean(name), fitted_T)
            for curve, fitted_T in zip(curves, fitted_over_tokens(law, curves, name), strict=True)
        }
        for name in law.roles
    }


def close(law: CriticalLaw, curves: Sequence[Curve], name: str) -> list[float]:
    """1 - mean square left at a ratio / variance of the losses of all ratios: high where a loss hardly moves, too."""
    spread = float(np.var(np.concatenate([curve.mean(name) for curve in curves]))) or 1.0
    pairs = zip(curves, fitted_over_tokens(law, curves, name), strict=True)
    return [1 - float(np.mean((curve.mean(name) - fitted_T) ** 2)) / spread for curve, fitted_T in pairs]


def well_fitted(
    curves: Sequence[Curve], roles: Mapping[str, str], lambda_: float, min_r2: float
) -> tuple[list[Curve], dict[str, float]]:
    """The curves of ratios whose groups are both fitted well enough over tokens, and R2 by fit.

    Well enough: by R2, or, of a loss that hardly moves, beside what the ratios make of it.

    Raises:
        ValueError: too few are left, or a law over their ratios misses `min_r2`.
    """
    law = fit_critical(curves, roles, lambda_)
    by_ratio = quality(law, curves)
    r2 = {f"{word} {ratio:g}": found for name, word in GROUPS.items() for ratio, found in by_ratio[name].items()}
    good_GR = [np.maximum(list(by_ratio[name].values()), close(law, curves, name)) >= min_r2 for name in GROUPS]
    kept = [curve for curve, good in zip(curves, np.all(good_GR, axis=0), strict=True) if good]
    over = {}
    if len(kept) >= MIN_RATIOS:
        law = fit_critical(kept, roles, lambda_)
        for name, word in GROUPS.items():
            fitted_R = law.over_ratios(name, law.unit_tokens).at(law.ratios)[0]
            over[f"{word} over ratios"] = r_squared(law.losses_at(name, law.unit_tokens)[0], fitted_R)
    if not over or min(over.values()) < min_r2:
        low = {fit: round(found, 3) for fit, found in (r2 | over).items() if found < min_r2}
        raise ValueError(
            f"critical-ratio: wanted R2 of at least {min_r2:g} over ratios, and over tokens at {MIN_RATIOS} ratios, "
            f"found {low}; run longer pilots, more seeds, more validation items, or lower plan.mixture.min_r2; "
            "else use `fixed`"
        )
    return kept, r2 | over


def predicted(law: CriticalLaw, ratio: float, tokens: float, min_r2: float) -> dict[str, np.ndarray]:
    """Losses [B] by name at a ratio after so many tokens.

    A task whose own law over ratios explains less than `min_r2` takes its group's, moved by their mean distance.
    """
    found = {}
    for name, role in law.roles.items():
        group = DOMAIN if role == "domain" else GENERAL
        seen_BR, fitted = law.losses_at(name, tokens), law.over_ratios(name, tokens)
        found[name] = fitted.at(ratio)[:, 0]
        if name != group and r_squared(seen_BR[0], fitted.at(law.ratios)[0]) < min_r2:
            apart_B = (seen_BR - law.losses_at(group, tokens)).mean(axis=1)
            found[name] = law.over_ratios(group, tokens).at(ratio)[:, 0] + apart_B
    return found


def _fitted(
    curves: Sequence[Curve],
    losses: Mapping[str, Sequence[np.ndarray]],
    roles: Mapping[str, str],
    starts: Mapping[str, float],
    lambda_: float,
    near: CriticalLaw | None,
) -> CriticalLaw:
    """Laws over tokens of losses [B, T] by name and ratio: one power for new text, two for general (eq. 6)."""
    unit = float(np.mean([curve.tokens[-1] for curve in curves]))
    powers: dict[str, list[Powers]] = {}
    for name, role in roles.items():
        terms = 1 if role == "domain" else 2
        powers[name] = [
            fit_powers(
                curve.tokens / unit,
                losses[name][place] - starts[name],
                TOKEN_EXPONENTS,
                near.powers[name][place] if near else None,
                terms,
            )
            for place, curve in enumerate(curves)
        ]
    first = min(float(curve.tokens[0]) for curve in curves) / unit
    return CriticalLaw(
        ratios=np.array([curve.ratio for curve in curves]),
        unit_tokens=unit,
        roles=roles,
        starts=starts,
        powers=powers,
        points=critical_points(powers[DOMAIN], powers[GENERAL], lambda_, first) * unit,
        firm=np.ones(len(curves), dtype=bool),
    )


def written(law: CriticalLaw) -> dict[str, Any]:
    """The law as JSON values."""
    names = {
        name: {
            "role": role,
            "start": law.starts[name],
            "over_tokens": [powers.written() for powers in law.powers[name]],
        }
        for name, role in law.roles.items()
    }
    line = law.critical(0)
    points = [None if np.isinf(point) else float(point) for point in law.points[0]]  # JSON knows no infinity
    return {
        "unit_tokens": law.unit_tokens,
        "ratios": law.ratios.tolist(),
        "losses": names,
        "critical_points_tokens": points,
        "firm": law.firm.tolist(),
        "critical": line.written() if line else None,
    }


def read(content: Mapping[str, Any]) -> CriticalLaw:
    """What `written` wrote."""
    losses = content["losses"]
    points = [np.inf if point is None else point for point in content["critical_points_tokens"]]
    return CriticalLaw(
        ratios=np.array(content["ratios"]),
        unit_tokens=content["unit_tokens"],
        roles={name: part["role"] for name, part in losses.items()},
        starts={name: part["start"] for name, part in losses.items()},
        powers={name: [Powers.read(one) for one in part["over_tokens"]] for name, part in losses.items()},
        points=np.array([points]),
        firm=np.array(content["firm"]),
    )
