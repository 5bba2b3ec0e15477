"""The shares with the best losses of a law, no further from natural ones than is worth it."""

import numpy as np

from steps.methods.mixture._groups import Groups
from steps.methods.mixture._log_linear import LogLinear

SMALLEST = 1e-9  # a share never reaches 0, where the slope of the divergence has no bound
CLOSE = 1e-3  # nats, over 1 + kl: how far the slopes of groups that may grow and shrink may differ at the optimum


def best(
    law: LogLinear,
    weight_T: np.ndarray,
    groups: Groups,
    high_G: np.ndarray,
    low_G: np.ndarray,
    kl: float,
    min_share: float,
) -> np.ndarray:
    """The optimum [G]; shares under `min_share` that have no floor are dropped, and the rest is solved again."""
    kept_G = np.ones(len(high_G), dtype=bool)
    while True:
        share_G, natural_G = np.zeros(len(high_G)), groups.gathered(groups.natural)
        part = LogLinear(law.floor_T, law.slope_TG[:, kept_G])
        share_G[kept_G] = optimum(part, weight_T, natural_G[kept_G], kl, low_G[kept_G], high_G[kept_G])
        small_G = kept_G & (share_G < min_share) & (low_G == 0)
        if not small_G.any() or high_G[kept_G & ~small_G].sum() < 1:
            return share_G
        kept_G &= ~small_G


def optimum(
    law: LogLinear, weight_T: np.ndarray, natural_G: np.ndarray, kl: float, low_G: np.ndarray, high_G: np.ndarray
) -> np.ndarray:
    """The shares [G] of the smallest sum of weighted losses + kl * KL(shares || natural), between low and high.

    The sum is convex, so where the conditions of Karush, Kuhn and Tucker hold there is no better.

    Raises:
        ValueError: no shares between low and high sum to 1.
    """
    from scipy.optimize import minimize

    low_G = np.maximum(low_G, np.minimum(SMALLEST, high_G))
    if (low_G > high_G).any() or not low_G.sum() <= 1 <= high_G.sum() + SMALLEST:
        raise ValueError(
            f"plan.mixture: wanted shares of at least {low_G.round(3).tolist()} and at most {high_G.round(3).tolist()} "
            "that sum to 1, there are none; lower plan.mixture.floors, raise plan.max_epochs or land more text"
        )

    def value(share_G: np.ndarray) -> tuple[float, np.ndarray]:
        part_T = weight_T * np.exp(law.slope_TG @ share_G)
        ratio_G = np.log(share_G / natural_G)
        slope_G = law.slope_TG.T @ part_T + kl * (ratio_G + 1)
        return (part_T.sum() + kl * (share_G @ ratio_G)) / (1 + kl), slope_G / (1 + kl)

    start_G: np.ndarray = low_G + (high_G - low_G) * (1 - low_G.sum()) / max((high_G - low_G).sum(), SMALLEST)
    if high_G.sum() <= 1 + SMALLEST or low_G.sum() >= 1 - SMALLEST:
        return start_G  # nothing is free
    whole = {"type": "eq", "fun": lambda share_G: share_G.sum() - 1, "jac": np.ones_like}
    bounds = list(zip(low_G, high_G, strict=True))
    exact = {"ftol": 1e-15, "maxiter": 1000}
    found = minimize(value, start_G, jac=True, method="SLSQP", bounds=bounds, constraints=[whole], options=exact)
    share_G: np.ndarray = np.clip(found.x, low_G, high_G)
    missed = unsettled(share_G, value(share_G)[1], low_G, high_G)
    assert missed < CLOSE, f"the optimum of the mixture was missed by {missed:.1e} nats ({found.message})"
    return share_G


def unsettled(share_G: np.ndarray, slope_G: np.ndarray, low_G: np.ndarray, high_G: np.ndarray) -> float:
    """How much the best move of a little share would gain per share moved, nats: 0 at the optimum."""
    can_shrink, can_grow = share_G > low_G + 1e-8, share_G < high_G - 1e-8
    return max(0.0, float(slope_G[can_shrink].max(initial=-np.inf) - slope_G[can_grow].min(initial=np.inf)))
