"""Losses that are log-linear in shares, above a floor.

A group is a set of sources mixed in fixed ratios; the shares of G groups sum to 1.

Measured on RegMix's public runs (17 sources, 13 losses; fitted to 34, 68 and 512 mixtures, 256 others predicted): with
floors the median R2 of what was predicted is 0.56, 0.82 and 0.87, without them 0.03, 0.47 and 0.61.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steps.core.laws import r_squared

HUBER = 0.02  # nats, as allenai/olmix 9586977, olmix/fit/utils.py
FLOORS = np.linspace(0.0, 0.98, 25)  # where a fit starts, as parts of the smallest loss


@dataclass(frozen=True)
class LogLinear:
    """Task j's loss is floor_j + exp(c_j + sum over groups of t_jg share_g).

    `slope_TG` holds c_j + t_jg: shares sum to 1, so that the constant is in the slopes.
    """

    floor_T: np.ndarray  # noqa: N815
    slope_TG: np.ndarray  # noqa: N815

    def losses(self, share_NG: np.ndarray) -> np.ndarray:
        """The loss of every task at each mixture [N, T], nats per token."""
        return np.asarray(self.floor_T + np.exp(share_NG @ self.slope_TG.T))

    @classmethod
    def fitted(cls, share_NG: np.ndarray, loss_NT: np.ndarray, *, floored: bool) -> "LogLinear":
        """The smallest Huber loss, from the best of many starts; `floored`: or else every floor is 0.

        Raises:
            ValueError: fewer runs than a law and its error need, or mixtures that do not tell the groups apart.
        """
        num_runs, num_groups = share_NG.shape
        least = num_groups + 1 + floored
        if num_runs < least or np.linalg.matrix_rank(share_NG, tol=1e-3) < num_groups:
            raise ValueError(
                f"pilot: {num_runs} runs do not carry a law of {num_groups} sources; wanted at least {least}, of "
                "different mixtures: raise plan.mixture.num_proxies"
            )
        starts = [_start(share_NG, loss_N, FLOORS if floored else FLOORS[:1]) for loss_N in loss_NT.T]
        found_TP = np.array([_refined(share_NG, y_N, s, floored) for y_N, s in zip(loss_NT.T, starts, strict=True)])
        return cls(found_TP[:, 0], found_TP[:, 1:])

    def explained(self, share_NG: np.ndarray, loss_NT: np.ndarray, tasks: Sequence[str]) -> dict[str, float]:
        """R2 of each task's loss."""
        pairs = zip(tasks, loss_NT.T, self.losses(share_NG).T, strict=True)
        return {task: r_squared(loss_N, fitted_N) for task, loss_N, fitted_N in pairs}

    def written(self, names: Sequence[str], tasks: Sequence[str], natural_G: np.ndarray) -> dict[str, Any]:
        """As JSON values: c_j is what the exponent is at natural shares, so that the natural mean of t_jg is 0."""
        constant_T = self.slope_TG @ natural_G
        rows = (self.slope_TG - constant_T[:, None]).tolist()
        return {
            "floors": dict(zip(tasks, self.floor_T.tolist(), strict=True)),
            "constants": dict(zip(tasks, constant_T.tolist(), strict=True)),
            "slopes": {task: dict(zip(names, row, strict=True)) for task, row in zip(tasks, rows, strict=True)},
        }

    @classmethod
    def read(cls, content: Mapping[str, Any], names: Sequence[str]) -> "LogLinear":
        """What `written` wrote, of some groups."""
        constants, slopes = content["constants"], content["slopes"]
        slope_TG = np.array([[constants[task] + slopes[task][name] for name in names] for task in constants])
        return cls(np.array([content["floors"][task] for task in constants]), slope_TG)

    def drawn(
        self, share_NG: np.ndarray, loss_NT: np.ndarray, draws: int, seed: int, *, floored: bool
    ) -> list["LogLinear"]:
        """Laws of a bootstrap: what the fit left over, scaled for the freedom that it took, is dealt out anew."""
        num_runs, num_groups = share_NG.shape
        fitted_NT = self.losses(share_NG)
        left_NT = (loss_NT - fitted_NT) * np.sqrt(num_runs / (num_runs - num_groups - floored))
        random, found = np.random.default_rng(seed), []
        start_TP = np.column_stack([self.floor_T, self.slope_TG])
        for _ in range(draws):
            again_NT = np.abs(fitted_NT + left_NT[random.integers(num_runs, size=num_runs)])
            pairs = zip(again_NT.T, start_TP, strict=True)
            found_TP = np.array([_refined(share_NG, loss_N, start_P, floored, 1e-8) for loss_N, start_P in pairs])
            found.append(LogLinear(found_TP[:, 0], found_TP[:, 1:]))
        return found


def _start(share_NG: np.ndarray, loss_N: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """The floor, and the least squares of the logarithm of what is above it, that come nearest to the losses."""
    floors = parts * loss_N.min()
    slopes = [np.linalg.lstsq(share_NG, np.log(loss_N - floor), rcond=None)[0] for floor in floors]
    missed = [
        np.sum((floor + np.exp(share_NG @ slope_G) - loss_N) ** 2)
        for floor, slope_G in zip(floors, slopes, strict=True)
    ]
    best = int(np.argmin(missed))
    return np.concatenate([floors[best : best + 1], slopes[best]])


def _refined(
    share_NG: np.ndarray, loss_N: np.ndarray, start_P: np.ndarray, floored: bool, close: float = 1e-12
) -> np.ndarray:
    """The floor and the slopes of the smallest Huber loss near a start."""
    from scipy.optimize import least_squares

    def above(free_P: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(np.minimum(share_NG @ free_P[int(floored) :], 50.0)))  # a trial step must not overflow

    def missed(free_P: np.ndarray) -> np.ndarray:
        return np.asarray(above(free_P) + (free_P[0] if floored else 0.0) - loss_N)

    def slopes(free_P: np.ndarray) -> np.ndarray:
        slope_NG = share_NG * above(free_P)[:, None]
        return np.column_stack([np.ones(len(loss_N)), slope_NG]) if floored else slope_NG

    low_P, high_P = (np.full(len(start_P), bound) for bound in (-np.inf, np.inf))
    low_P[0], high_P[0] = 0.0, loss_N.min()
    start_P = np.concatenate([np.minimum(start_P[:1], 0.99 * loss_N.min()), start_P[1:]])
    bounds, tight = (
        (low_P[int(not floored) :], high_P[int(not floored) :]),
        {"xtol": close, "ftol": close, "gtol": close},
    )
    found = least_squares(missed, start_P[int(not floored) :], slopes, bounds, loss="huber", f_scale=HUBER, **tight)
    return np.concatenate([np.zeros(int(not floored)), found.x])
