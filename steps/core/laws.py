"""Scaling laws fitted to short runs: power laws over ratios and tokens, how good they are, and what is written of them.

**plan.json**, as every mixture that fits writes it (`Mixture.learn` returns it; `perennial pilot` adds `pilots`, `cost`
and digests). All values are JSON; losses are nats per token; tokens are loss tokens; a ratio R is the share of NEW text
(replay = 1 - R); a group is `domain` (mean over train tasks) or `general` (mean over replay-only tasks).

    {
      "method":      "critical-ratio",
      "law":         {...},                      parameters; only the method that wrote them reads them
      "ratio":       0.62,                       share of new text, recommended
      "recommended": {"new/law": 0.62, "replay/general": 0.38},        source -> share of the loss tokens; sum 1
      "predicted":   {"law": 2.91, "general": 3.02},                   task -> loss of the FULL run at that ratio
      "intervals":   {"ratio": [0.57, 0.66], "tasks": {"law": [2.88, 2.95], ...}}   90 % bootstrap
      "checks":      {
          "r2":       {"general 0.25": 0.98, ...},                     fit -> R2
          "held_out": [{"group": "general", "task": null, "ratio": 0.7, "tokens": 50000, "start": 3.10,
                        "actual": 3.05, "predicted": 3.06, "interpolated": 3.07}, ...],    of each group (task null)
                                                                       and task; interpolated: linear, between the
                                                                       neighbouring fitted ratios
          "trusted":  true,                                            whether the method stands by its recommendation
          ...                                                          what else the method checks: numbers, booleans
      },
      "curves":      {"ratio": PANEL, "general": PANEL, ...},          what to plot, in this order
      "told":        ["sentences", ...]
    }

    PANEL = {"title": "Loss over the ratio", "x": "share of new text", "y": "nats per token",
             "lines":  [{"label": "general, fitted", "x": [...], "y": [...], "low": [...], "high": [...]}, ...],
                       low and high, a 90 % band, may be missing; a line and points of one `label` share a colour
             "points": [{"label": "general", "x": [...], "y": [...], "held_out": false}, ...],
             "marks":  [{"label": "critical ratio", "x": 0.62}, ...]}    vertical lines

The error of a predicted change is |predicted - actual| / |actual - start|; "no change" predicts `start`. A method that
wrote a fit predicts any ratio by its `predict(content, ratio, tokens)` -> task -> loss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

STEP = 0.05  # of the grid of exponents
GAP = 0.1  # between two exponents of one law: nearer, their terms cannot be told apart


@dataclass(frozen=True)
class Powers:
    """B laws, each a sum of K powers and a constant: y = sum over k of a_k x^s_k + c.

    `factors` a [B, K], `exponents` s [B, K] ascending, `constant` c [B].
    """

    factors: np.ndarray
    exponents: np.ndarray
    constant: np.ndarray

    def at(self, x: np.ndarray | float) -> np.ndarray:
        """Values [B, X] at x [X]."""
        x_X = np.atleast_1d(np.asarray(x, dtype=float))
        value_BX = self.constant[:, None] + np.einsum("bk,bkx->bx", self.factors, x_X ** self.exponents[..., None])
        return np.asarray(value_BX)

    def slope(self, x: np.ndarray | float) -> np.ndarray:
        """Derivatives [B, X] at x [X]."""
        x_X = np.atleast_1d(np.asarray(x, dtype=float))
        raised_BKX = x_X ** (self.exponents[..., None] - 1)
        slope_BX: np.ndarray = np.einsum("bk,bkx->bx", self.factors * self.exponents, raised_BKX)
        return slope_BX

    def written(self) -> dict[str, Any]:
        """The first law, as JSON values."""
        return {
            "factors": self.factors[0].tolist(),
            "exponents": self.exponents[0].tolist(),
            "constant": float(self.constant[0]),
        }

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "Powers":
        """What `written` wrote."""
        return cls(*(np.array([content[name]], dtype=float) for name in ("factors", "exponents", "constant")))


def power(factor: float, exponent: float, constant: float) -> Powers:
    """One law of one power."""
    return Powers(np.array([[factor]]), np.array([[exponent]]), np.array([constant]))


def fit_powers(
    x_N: np.ndarray, y_BN: np.ndarray, bounds: tuple[float, float], near: Powers | None = None, num_terms: int = 1
) -> Powers:
    """Least squares of laws with one or two powers, for B sets of N points at the same x.

    For given exponents the rest is linear: the exponents alone are searched, over a grid; one law is then refined.
    `near`: of many laws, one whose exponents join the grid (draws of a bootstrap around it).
    """
    assert num_terms in {1, 2}, f"a law has one or two powers, not {num_terms}"
    assert x_N.min() > 0, "a power of 0 has no logarithm"
    scale = float(x_N.max())
    exponent_S = np.arange(bounds[0] + STEP / 2, bounds[1], STEP)  # never 0, where a power is a constant
    if near is not None:
        exponent_S = np.unique(np.concatenate([exponent_S, near.exponents[0]]))
    found_BK = _searched(exponent_S, x_N / scale, y_BN, num_terms)
    if len(y_BN) == 1:
        found_BK = _refined(found_BK[0], x_N / scale, y_BN[0], bounds)[None]
    found_BK = np.where(np.abs(found_BK) < 1e-4, 1e-4, found_BK)
    basis_BNK = _centred((x_N / scale)[None, :, None], found_BK[:, None, :])
    centred_BN = y_BN - y_BN.mean(axis=1, keepdims=True)
    slope_BK = np.einsum("bkn,bn->bk", np.linalg.pinv(basis_BNK), centred_BN)
    factors_BK = slope_BK / found_BK / scale**found_BK
    raw = Powers(factors_BK, found_BK, np.zeros(len(y_BN)))
    return Powers(factors_BK, found_BK, (y_BN - raw.at(x_N)).mean(axis=1))


def _centred(x: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """(x^s - 1) / s without its mean over N (axis 1): a power, scaled so that it turns into a logarithm at s = 0."""
    basis = np.expm1(exponents * np.log(x)) / exponents
    centred: np.ndarray = basis - basis.mean(axis=1, keepdims=True)
    return centred


def _searched(exponent_S: np.ndarray, x_N: np.ndarray, y_BN: np.ndarray, num_terms: int) -> np.ndarray:
    """The exponents of the grid [B, K] that leave the smallest sum of squares."""
    unit_SN = _centred(x_N[None, :], exponent_S[:, None])
    unit_SN /= np.linalg.norm(unit_SN, axis=1, keepdims=True)
    part_SB = unit_SN @ (y_BN - y_BN.mean(axis=1, keepdims=True)).T
    if num_terms == 1:
        return np.asarray(exponent_S[np.argmax(part_SB**2, axis=0)][:, None])
    first_P, second_P = np.nonzero(exponent_S[None, :] - exponent_S[:, None] >= GAP)
    cosine_P = np.einsum("pn,pn->p", unit_SN[first_P], unit_SN[second_P])
    rest_P = np.maximum(1 - cosine_P**2, 1e-12)
    explained_PB = part_SB[first_P] ** 2
    explained_PB += (part_SB[second_P] - cosine_P[:, None] * part_SB[first_P]) ** 2 / rest_P[:, None]
    best_B = np.argmax(explained_PB, axis=0)
    return np.stack([exponent_S[first_P[best_B]], exponent_S[second_P[best_B]]], axis=1)


def _refined(start_K: np.ndarray, x_N: np.ndarray, y_N: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """The exponents of one law, to the precision of its points; two keep their distance and their order."""
    if len(start_K) == 1:
        for step in STEP / 20.0 ** np.arange(5):
            finer_S = start_K[0] + np.linspace(-step, step, 41)
            start_K = _searched(finer_S[finer_S != 0], x_N, y_N[None], num_terms=1)[0]
        return np.asarray(np.clip(start_K, *bounds))
    from scipy.optimize import least_squares

    centred_N = y_N - y_N.mean()
    size = float(np.linalg.norm(centred_N)) or 1.0

    def exponents(free_K: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.cumsum(free_K)
        return np.where(np.abs(found) < 1e-4, 1e-4, found)

    def residual(free_K: np.ndarray) -> np.ndarray:
        basis_NK = _centred(x_N[None, :, None], exponents(free_K)[None, None, :])[0]
        orthonormal_NK = np.linalg.qr(basis_NK)[0]
        left: np.ndarray = (centred_N - orthonormal_NK @ (orthonormal_NK.T @ centred_N)) / size
        return left

    free_K = np.diff(start_K, prepend=0.0)
    low = np.array([bounds[0], GAP][: len(free_K)])
    high = np.array([bounds[1], bounds[1] - bounds[0]][: len(free_K)])
    tight = {"xtol": 1e-14, "ftol": 1e-14, "gtol": 1e-14}
    found = least_squares(residual, np.clip(free_K, low, high), jac="3-point", bounds=(low - 1e-9, high), **tight)
    return exponents(found.x)


def r_squared(y_N: np.ndarray, fitted_N: np.ndarray) -> float:
    """The share of the variance that a fit explains; 1 where nothing varies and nothing is missed."""
    left, whole = float(((y_N - fitted_N) ** 2).sum()), float(((y_N - y_N.mean()) ** 2).sum())
    return 1 - left / whole if whole else float(left == 0)


def turning_point(law: Powers) -> float | None:
    """Where a law of two powers has its maximum, in closed form; none where it is monotone or has a minimum."""
    (first, second), (low, high) = law.factors[0] * law.exponents[0], law.exponents[0]
    if not (first > 0 > second):  # the smaller exponent rules near 0: it must rise there
        return None
    return float((-first / second) ** (1 / (high - low)))


def last_crossing(slopes_BT: np.ndarray, tokens_T: np.ndarray) -> np.ndarray:
    """Where each curve of slopes last goes from above 0 to below [B]; NaN where it never does."""
    falls_BT = (slopes_BT[:, :-1] > 0) & (slopes_BT[:, 1:] <= 0)
    last_B = falls_BT.shape[1] - 1 - np.argmax(falls_BT[:, ::-1], axis=1)
    rows = np.arange(len(slopes_BT))
    before_B, after_B = slopes_BT[rows, last_B], slopes_BT[rows, last_B + 1]
    fall_B = np.where(falls_BT.any(axis=1), before_B - after_B, 1.0)
    log_B = np.log(tokens_T[last_B]) + before_B / fall_B * np.log(tokens_T[last_B + 1] / tokens_T[last_B])
    return np.exp(np.where(falls_BT.any(axis=1), log_B, np.nan))


def interpolated(ratio: float, ratios: Sequence[float], losses: Sequence[float]) -> float:
    """The loss at a ratio, linear between the neighbouring ratios (the nearest one's outside them)."""
    order = np.argsort(ratios)
    return float(np.interp(ratio, np.asarray(ratios)[order], np.asarray(losses)[order]))


def interval(values: np.ndarray) -> list[float] | None:
    """The 90 % interval of the draws that gave a number; none if most did not."""
    found = values[np.isfinite(values)]
    return None if len(found) * 2 < len(values) else [float(edge) for edge in np.quantile(found, [0.05, 0.95])]
