"""The domain law (D-CPT): loss as a surface over model size, tokens and ratio, fitted from many starts.

    L(N, D, r) = E + A / n^alpha + B r^eta / d^beta + C / (r + epsilon)^gamma,      n = N / unit, d = D / unit

N parameters of the model, D loss tokens, r the share of the text WHOSE LOSS IS PREDICTED (general: 1 - new). All nine
are positive: they are fitted as exp(theta). The units keep the numbers near 1 and change no prediction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from steps.core.curves import DOMAIN, GENERAL, GROUPS, Curve, draws_of
from steps.core.laws import r_squared

NAMES = ("E", "A", "alpha", "B", "beta", "eta", "C", "gamma", "epsilon")
COEFFICIENTS = [0, 1, 3, 6]  # E, A, B, C: linear once the others are known
LOW = np.array([1e-6, 1e-9, 1e-3, 1e-9, 1e-3, 1e-3, 1e-9, 1e-3, 1e-4])
HIGH = np.array([1e2, 1e2, 5, 1e2, 5, 20, 1e2, 20, 10])
DRAWN = {"alpha": (0.05, 2), "beta": (0.05, 2), "eta": (0.1, 4), "gamma": (0.05, 4), "epsilon": (0.01, 2)}  # of a start
NUM_CANDIDATES = 300  # starts looked at before the best are followed
FINALISTS, ROUNDS = 2, 8  # starts that are followed to the end, and times that L-BFGS is taken anew there
EXACT = 1e-12  # a loss that is none
NUM_RATIOS = 20_001  # looked at for the best one


@dataclass(frozen=True)
class Seen:
    """P losses and where they were seen: all arrays [P]; `ratios` are of the text whose loss it is."""

    parameters: np.ndarray
    tokens: np.ndarray
    ratios: np.ndarray
    losses: np.ndarray


@dataclass(frozen=True)
class Surface:
    """A fitted law: nine values in the order of NAMES; A is 0 where one model size was seen, B where one D was."""

    values: np.ndarray
    unit_parameters: float
    unit_tokens: float

    def at(self, parameters: Any, tokens: Any, ratios: Any) -> np.ndarray:
        """Losses; the arguments are broadcast."""
        n, d = np.asarray(parameters) / self.unit_parameters, np.asarray(tokens) / self.unit_tokens
        return np.asarray(_terms(self.values, np.log(n), np.log(d), np.asarray(ratios, dtype=float)).sum(axis=0))

    def slope(self, tokens: Any, ratios: Any) -> np.ndarray:
        """dL/dr; the arguments are broadcast."""
        _, _, _, b, beta, eta, c, gamma, epsilon = self.values
        d, r = np.asarray(tokens) / self.unit_tokens, np.asarray(ratios, dtype=float)
        return np.asarray(eta * b * r ** (eta - 1) / d**beta - gamma * c / (r + epsilon) ** (gamma + 1))

    def rises(self, tokens: Sequence[float], ratios: tuple[float, float]) -> tuple[float, float] | None:
        """The place (D, r) of the used range where L rises most with r; none where it falls everywhere, as it must."""
        token_D1, ratio_R = np.array(sorted(tokens))[:, None], np.linspace(*ratios, 401)
        slope_DR = self.slope(token_D1, ratio_R[ratio_R > 0])
        worst = np.unravel_index(np.argmax(slope_DR), slope_DR.shape)
        if slope_DR[worst] < 0:
            return None
        return float(token_D1[worst[0], 0]), float(ratio_R[ratio_R > 0][worst[1]])

    def written(self) -> dict[str, Any]:
        """The law as JSON values."""
        named = {name: float(value) for name, value in zip(NAMES, self.values, strict=True)}
        return {**named, "unit_parameters": self.unit_parameters, "unit_tokens": self.unit_tokens}

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "Surface":
        """What `written` wrote."""
        values = np.array([content[name] for name in NAMES])
        return cls(values, content["unit_parameters"], content["unit_tokens"])


def fit_surface(seen: Seen, delta: float, num_starts: int, seed: int, near: Surface | None = None) -> Surface:
    """The law of least Huber loss of log L, by L-BFGS from many starts, or from `near` alone.

    A term is left out where the data cannot tell it from E: A with one model size, B with one D.
    """
    unit_parameters = near.unit_parameters if near else float(np.exp(np.log(seen.parameters).mean()))
    unit_tokens = near.unit_tokens if near else float(np.exp(np.log(seen.tokens).mean()))
    log_n, log_d = np.log(seen.parameters / unit_parameters), np.log(seen.tokens / unit_tokens)
    free = np.ones(len(NAMES), dtype=bool)
    free[[1, 2]] = np.ptp(log_n) > 0
    free[[3, 4, 5]] = np.ptp(log_d) > 0
    points = _Points(seen, log_n, log_d, free, delta)
    starts = [np.log(near.values[free])] if near else _starts(points, num_starts, seed)
    first = sorted((_followed(start, points, 1) for start in starts), key=lambda pair: pair[0])[:FINALISTS]
    rounds = 1 if near else ROUNDS  # a draw of a bootstrap starts where it nearly ends
    best = min((_followed(theta, points, rounds) for _, theta in first), key=lambda pair: pair[0])[1]
    values = points.values(best)
    values[[2, 4, 5]] = np.where(free[[2, 4, 5]], values[[2, 4, 5]], 1.0)
    return Surface(values, unit_parameters, unit_tokens)


def _terms(values: np.ndarray, log_n: np.ndarray, log_d: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """The four terms [4, ...]."""
    e, a, alpha, b, beta, eta, c, gamma, epsilon = values
    parts = np.broadcast_arrays(
        e, a * np.exp(-alpha * log_n), b * ratios**eta * np.exp(-beta * log_d), c * (ratios + epsilon) ** -gamma
    )
    return np.stack(parts)


@dataclass(frozen=True)
class _Points:
    """What a fit reads: logs of n and d [P], and which of the nine values are free."""

    seen: Seen
    log_n: np.ndarray
    log_d: np.ndarray
    free: np.ndarray
    delta: float

    def values(self, theta: np.ndarray) -> np.ndarray:
        """All nine values; 0 for those that are left out."""
        values = np.zeros(len(NAMES))
        values[self.free] = np.exp(theta)
        return values

    def misses(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Misses of log L [P] in units of delta, and their derivatives by theta [F, P]."""
        values = self.values(theta)
        _, _, alpha, _, beta, eta, _, gamma, epsilon = values
        terms = _terms(values, self.log_n, self.log_d, self.seen.ratios)
        total_P = terms.sum(axis=0)
        log_r = np.log(np.where(self.seen.ratios > 0, self.seen.ratios, 1.0))
        shifted = self.seen.ratios + epsilon
        rows = np.stack(
            [
                terms[0],
                terms[1],
                -alpha * self.log_n * terms[1],
                terms[2],
                -beta * self.log_d * terms[2],
                eta * log_r * terms[2],
                terms[3],
                -gamma * np.log(shifted) * terms[3],
                -gamma * epsilon / shifted * terms[3],
            ]
        )
        return np.log(total_P / self.seen.losses) / self.delta, rows[self.free] / (total_P * self.delta)

    def huber(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean Huber loss over delta^2, and its gradient by theta; not over delta^2, L-BFGS would stop at once."""
        miss_P, slope_FP = self.misses(theta)
        small_P = np.abs(miss_P) <= 1
        loss = np.where(small_P, 0.5 * miss_P**2, np.abs(miss_P) - 0.5).mean()
        return float(loss), slope_FP @ np.where(small_P, miss_P, np.sign(miss_P)) / len(miss_P)


def _starts(points: _Points, num_starts: int, seed: int) -> list[np.ndarray]:
    """The best of many random exponents; the coefficients to each by non-negative least squares."""
    from scipy.optimize import nnls

    random = np.random.default_rng(seed)
    found: list[tuple[float, int, np.ndarray]] = []
    for _ in range(max(NUM_CANDIDATES, num_starts)):
        values = np.ones(len(NAMES))
        for name, (low, high) in DRAWN.items():
            values[NAMES.index(name)] = np.exp(random.uniform(np.log(low), np.log(high)))
        terms = _terms(values, points.log_n, points.log_d, points.seen.ratios) * points.free[COEFFICIENTS][:, None]
        linear, _ = nnls((terms / points.seen.losses).T, np.ones(len(points.log_n)))
        values[COEFFICIENTS] = np.maximum(linear, 1e-3)
        theta = np.log(np.clip(values, LOW, HIGH)[points.free])
        found.append((points.huber(theta)[0], len(found), theta))
    return [theta for _, _, theta in sorted(found)[:num_starts]]


def _followed(theta: np.ndarray, points: _Points, num_rounds: int) -> tuple[float, np.ndarray]:
    """L-BFGS from one start, in coordinates in which the misses' squares curve alike; taken anew a few times."""
    from scipy.optimize import minimize

    low, high = np.log(LOW[points.free]), np.log(HIGH[points.free])
    value = points.huber(theta)[0]
    for _ in range(num_rounds):
        _, slope_FP = points.misses(theta)
        size_F, axes_FF = np.linalg.eigh(slope_FP @ slope_FP.T)
        scaled_FF = axes_FF * np.sqrt(size_F[-1] / np.maximum(size_F, 1e-8 * size_F[-1]))

        def loss(place: np.ndarray, centre: np.ndarray, scaled_FF: np.ndarray, whole: float) -> Any:
            wanted = centre + scaled_FF @ place
            found, slope = points.huber(np.clip(wanted, low, high))
            return found / whole, scaled_FF.T @ np.where((wanted > low) & (wanted < high), slope, 0.0) / whole

        rest, limits = (theta, scaled_FF, value), {"maxiter": 100, "ftol": 1e-9, "gtol": 1e-9, "maxcor": 20}
        found = minimize(loss, np.zeros(len(theta)), rest, method="L-BFGS-B", jac=True, options=limits)
        theta = np.clip(theta + scaled_FF @ found.x, low, high)
        value = value * float(found.fun)
        if found.fun > 1 - 1e-6 or value < EXACT:
            break
    return value, theta


@dataclass(frozen=True)
class Laws:
    """The surfaces of both groups and of every task that has its own; the others lie `apart` from their group's.

    `ratios` of new text and `tokens`: the range seen. `num_sizes`: of models.
    """

    surfaces: Mapping[str, Surface]
    apart: Mapping[str, float]
    roles: Mapping[str, str]
    starts: Mapping[str, float]
    ratios: tuple[float, float]
    tokens: tuple[float, float]
    num_sizes: int

    def at(self, name: str, parameters: Any, tokens: Any, ratio: Any) -> np.ndarray:
        """Losses of a task or group; `ratio` of new text; the arguments are broadcast."""
        domain = self.roles[name] == "domain"
        group = name if name in self.surfaces else DOMAIN if domain else GENERAL
        own = np.asarray(ratio, dtype=float) if domain else 1 - np.asarray(ratio, dtype=float)
        return self.surfaces[group].at(parameters, tokens, own) + self.apart.get(name, 0.0)

    def losses(self, parameters: float, tokens: float, ratio: float) -> dict[str, float]:
        """The loss of every task and group."""
        return {name: float(self.at(name, parameters, tokens, ratio)) for name in self.roles}

    def written(self) -> dict[str, Any]:
        """The laws as JSON values."""
        surfaces = {name: surface.written() for name, surface in self.surfaces.items()}
        return {**{key: getattr(self, key) for key in self.__dataclass_fields__}, "surfaces": surfaces}

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "Laws":
        """What `written` wrote."""
        surfaces = {name: Surface.read(part) for name, part in content["surfaces"].items()}
        pairs = {key: (content[key][0], content[key][1]) for key in ("ratios", "tokens")}
        return cls(**{**content, "surfaces": surfaces, **pairs})


def fit_laws(
    curves: Sequence[Curve], roles: Mapping[str, str], delta: float, num_starts: int, seed: int, min_r2: float
) -> tuple[Laws, dict[str, float]]:
    """The laws, and R2 of each group's and task's own over all its points; a task under `min_r2` follows its group."""
    surfaces: dict[str, Surface] = {}
    apart, r2 = {}, {}
    for name, role in roles.items():
        seen = _seen(curves, name, role, [curve.mean(name) for curve in curves])
        surface = fit_surface(seen, delta, num_starts, seed)
        r2[name] = r_squared(seen.losses, surface.at(seen.parameters, seen.tokens, seen.ratios))
        if name in GROUPS or r2[name] >= min_r2:
            surfaces[name] = surface
        else:
            group = DOMAIN if role == "domain" else GENERAL
            apart[name] = float(np.mean([(curve.mean(name) - curve.mean(group)).mean() for curve in curves]))
    ratios, tokens = [curve.ratio for curve in curves], np.concatenate([curve.tokens for curve in curves])
    laws = Laws(
        surfaces=surfaces,
        apart=apart,
        roles=dict(roles),
        starts={name: float(np.mean([curve.starts[name] for curve in curves])) for name in roles},
        ratios=(min(ratios), max(ratios)),
        tokens=(float(tokens.min()), float(tokens.max())),
        num_sizes=len({curve.num_parameters for curve in curves}),
    )
    return laws, r2


def draw_laws(curves: Sequence[Curve], laws: Laws, delta: float, num_draws: int, seed: int) -> list[Laws]:
    """The laws of draws of the curves, each followed from the law itself: a bootstrap."""
    fitted = {
        name: [laws.at(name, curve.num_parameters, curve.tokens, curve.ratio) for curve in curves]
        for name in laws.surfaces
    }
    drawn = draws_of(curves, fitted, num_draws, seed)
    found = []
    for draw in range(num_draws):
        surfaces = {}
        for name, surface in laws.surfaces.items():
            seen = _seen(curves, name, laws.roles[name], [part[draw] for part in drawn[name]])
            surfaces[name] = fit_surface(seen, delta, 1, seed, near=surface)
        found.append(replace(laws, surfaces=surfaces))
    return found


def _seen(curves: Sequence[Curve], name: str, role: str, losses: Sequence[np.ndarray]) -> Seen:
    """The points of one task or group; the ratio is of the text whose loss it is."""
    sizes = [len(curve.tokens) for curve in curves]
    ratios = [curve.ratio if role == "domain" else 1 - curve.ratio for curve in curves]
    return Seen(
        parameters=np.repeat([float(curve.num_parameters) for curve in curves], sizes),
        tokens=np.concatenate([curve.tokens for curve in curves]),
        ratios=np.repeat(ratios, sizes),
        losses=np.concatenate(losses),
    )


def best_ratio(
    surfaces: Mapping[str, Surface],
    parameters: float,
    tokens: float,
    ratios: tuple[float, float],
    limit: float | None,
    domain_tokens: float | None = None,
) -> float:
    """The share of new text of least domain loss whose general loss is at most `limit`; NaN: no share keeps it.

    `domain_tokens`: all there is of new text: a run then ends after domain_tokens / r, when that is before `tokens`.
    """
    ratio_R = np.linspace(*ratios, NUM_RATIOS)
    token_R = np.full(NUM_RATIOS, float(tokens))
    if domain_tokens is not None:
        token_R = np.minimum(token_R, domain_tokens / ratio_R)
    loss_R = surfaces[DOMAIN].at(parameters, token_R, ratio_R)
    if limit is not None:
        loss_R = np.where(surfaces[GENERAL].at(parameters, token_R, 1 - ratio_R) <= limit, loss_R, np.inf)
    best = int(np.argmin(loss_R))
    return float(ratio_R[best]) if np.isfinite(loss_R[best]) else np.nan
