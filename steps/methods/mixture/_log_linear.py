"""Losses that are log-linear in shares, and the shares with the best of them.

A group is a set of sources mixed in fixed ratios; the shares of G groups sum to 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steps.core.laws import r_squared

SMALLEST = 1e-9  # a share never reaches 0, where the slope of the divergence has no bound
CLOSE = 1e-3  # nats, over 1 + kl: how far the slopes of groups that may grow and shrink may differ at the optimum


@dataclass(frozen=True)
class LogLinear:
    """Task j's loss is exp(c_j + sum over groups of t_jg share_g); `slope_TG` holds c_j + t_jg, as shares sum to 1."""

    slope_TG: np.ndarray  # noqa: N815

    def losses(self, share_NG: np.ndarray) -> np.ndarray:
        """The loss of every task at each mixture [N, T], nats per token."""
        return np.asarray(np.exp(share_NG @ self.slope_TG.T))

    @classmethod
    def fitted(cls, share_NG: np.ndarray, loss_NT: np.ndarray) -> "LogLinear":
        """Least squares of the logarithms.

        Raises:
            ValueError: fewer runs than a law and its error need, or mixtures that do not tell the groups apart.
        """
        num_runs, num_groups = share_NG.shape
        if num_runs <= num_groups or np.linalg.matrix_rank(share_NG, tol=1e-3) < num_groups:
            raise ValueError(
                f"pilot: {num_runs} runs do not carry a law of {num_groups} sources; wanted at least {num_groups + 1}, "
                "of different mixtures: raise plan.mixture.num_proxies"
            )
        return cls(np.linalg.lstsq(share_NG, np.log(loss_NT), rcond=None)[0].T)

    def explained(self, share_NG: np.ndarray, loss_NT: np.ndarray, tasks: Sequence[str]) -> dict[str, float]:
        """R2 of each task's logarithm."""
        fitted_NT = share_NG @ self.slope_TG.T
        return {task: r_squared(np.log(loss_NT[:, t]), fitted_NT[:, t]) for t, task in enumerate(tasks)}

    def written(self, names: Sequence[str], tasks: Sequence[str], natural_G: np.ndarray) -> dict[str, Any]:
        """As JSON values: c_j is the logarithm of the loss at natural shares, so that the natural mean of t_jg is 0."""
        constant_T = self.slope_TG @ natural_G
        rows = (self.slope_TG - constant_T[:, None]).tolist()
        slopes = {task: dict(zip(names, row, strict=True)) for task, row in zip(tasks, rows, strict=True)}
        return {"constants": dict(zip(tasks, constant_T.tolist(), strict=True)), "slopes": slopes}

    @classmethod
    def read(cls, content: Mapping[str, Any], names: Sequence[str]) -> "LogLinear":
        """What `written` wrote, of some groups."""
        constants, slopes = content["constants"], content["slopes"]
        return cls(np.array([[constants[task] + slopes[task][name] for name in names] for task in constants]))

    def drawn(self, share_NG: np.ndarray, loss_NT: np.ndarray, draws: int, seed: int) -> list["LogLinear"]:
        """Laws of a bootstrap: what the fit left over, scaled for the freedom that it took, is dealt out anew."""
        num_runs, num_groups = share_NG.shape
        fitted_NT = share_NG @ self.slope_TG.T
        left_NT = (np.log(loss_NT) - fitted_NT) * np.sqrt(num_runs / (num_runs - num_groups))
        random = np.random.default_rng(seed)
        inverse_GN = np.linalg.pinv(share_NG)
        dealt = (left_NT[random.integers(num_runs, size=num_runs)] for _ in range(draws))
        return [LogLinear((inverse_GN @ (fitted_NT + again_NT)).T) for again_NT in dealt]


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
