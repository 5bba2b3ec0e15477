"""Pilots of a world whose laws are known: general loss turns where R = 0.5 T^0.35 + 0.1, T in millions of tokens."""

import numpy as np

from steps.core.curves import DOMAIN, GENERAL, Curve

UNIT = 1_000_000
ROLES = {DOMAIN: "domain", GENERAL: "general"}
START = {DOMAIN: 3.0, GENERAL: 2.5}
PLACES = np.linspace(0.04, 1, 25)


def critical_ratio(tokens: float) -> float:
    return 0.5 * (tokens / UNIT) ** 0.35 + 0.1


def losses(ratio: float, place_T: np.ndarray, lambda_: float = 1000.0) -> dict[str, np.ndarray]:
    """Both losses after so many million tokens; F' = 0 exactly where the law says."""
    turn = ((ratio - 0.1) / 0.5) ** (1 / 0.35)
    a1, s1, a2, s2, s3 = -0.5 * ratio**0.3, 0.3, 0.08 * ratio, 0.25, 0.7
    a3 = -(a1 * s1 * turn ** (s1 - 1) / lambda_ + a2 * s2 * turn ** (s2 - 1)) / (s3 * turn ** (s3 - 1))
    return {DOMAIN: 3.0 + a1 * place_T**s1, GENERAL: 2.5 + a2 * place_T**s2 + a3 * place_T**s3}


def curves(ratios: list[float], noise: float = 0.0, seed: int = 0, num_seeds: int = 1) -> list[Curve]:
    random = np.random.default_rng(seed)
    found = []
    for ratio in ratios:
        exact = losses(ratio, PLACES)
        seen = {name: one + noise * random.normal(size=(num_seeds, len(PLACES))) for name, one in exact.items()}
        found.append(Curve(ratio, PLACES * UNIT, seen, START))
    return found
