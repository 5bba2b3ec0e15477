import json

import numpy as np
import pytest

from steps.core import domain_laws
from steps.core.curves import DOMAIN, GENERAL, Curve
from steps.core.domain_laws import Laws, Seen, Surface, best_ratio, draw_laws, fit_laws, fit_surface

TRUE = Surface(np.array([1.5, 0.6, 0.3, 0.4, 0.35, 0.8, 0.25, 0.5, 0.2]), 1e9, 1e9)
RATIOS = [0, 0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 1.0]  # the paper's nine

# arXiv:2406.01375, table 5 (a transcription): chemistry, Qwen1.5-1.8B, 10B tokens, tolerance 3 %
SHARES = np.array([0.90, 0.91, 0.92, 0.924, 0.93, 0.94, 1.00])
GENERAL_LOSS = np.array([2.9052, 2.9193, 2.9376, 2.9445, 2.9644, 2.9848, 3.4667])
DOMAIN_LOSS = np.array([1.7321, 1.7312, 1.7311, 1.7291, 1.7279, 1.7265, 1.7220])
LIMIT = 1.03 * 2.8602


def seen(law: Surface, sizes: list[float], ratios: list[float] = RATIOS) -> Seen:
    n, d, r = (axis.ravel() for axis in np.meshgrid(sizes, np.linspace(1e9, 20e9, 20), ratios, indexing="ij"))
    return Seen(n, d, r, law.at(n, d, r))


def at_one_place(ratios: np.ndarray, losses: np.ndarray) -> Seen:
    return Seen(np.full(len(ratios), 1.8e9), np.full(len(ratios), 1e10), ratios, losses)


def test_the_law_by_hand() -> None:
    law = Surface(np.array([1.0, 0.5, 1.0, 0.3, 1.0, 2.0, 0.2, 1.0, 0.5]), 10.0, 100.0)
    assert float(law.at(20, 300, 0.5)) == pytest.approx(1 + 0.5 / 2 + 0.3 * 0.25 / 3 + 0.2 / 1)
    assert float(law.slope(300, 0.5)) == pytest.approx(2 * 0.3 * 0.5 / 3 - 0.2 / 1)


def test_losses_at_sizes_tokens_and_ratios_never_seen_are_predicted() -> None:
    found = fit_surface(seen(TRUE, [5e8, 1.8e9, 4e9]), delta=1e-3, num_starts=8, seed=0)
    for size, tokens, ratio in [(1e9, 3.3e9, 0.05), (7e9, 30e9, 0.4), (3e9, 15e9, 0.95)]:
        assert float(found.at(size, tokens, ratio)) == pytest.approx(float(TRUE.at(size, tokens, ratio)), rel=1e-3)
    assert found.values[[0, 2, 4, 5]] == pytest.approx(TRUE.values[[0, 2, 4, 5]], rel=1e-3)  # E and the exponents


def test_with_one_size_and_one_number_of_tokens_their_terms_are_left_out() -> None:
    one = fit_surface(seen(TRUE, [1.8e9]), delta=1e-3, num_starts=8, seed=0)
    assert one.values[1] == 0
    assert float(one.at(1.8e9, 30e9, 0.4)) == pytest.approx(float(TRUE.at(1.8e9, 30e9, 0.4)), rel=1e-3)
    reduced = fit_surface(at_one_place(SHARES, DOMAIN_LOSS), delta=1.0, num_starts=8, seed=0)
    assert reduced.values[[1, 3]].tolist() == [0, 0]


def test_the_published_table_is_fitted_by_the_reduced_form_with_the_share_of_its_own_text() -> None:
    def miss(ratios: np.ndarray, losses: np.ndarray) -> float:
        fitted = fit_surface(at_one_place(ratios, losses), delta=1.0, num_starts=8, seed=0)
        return float(np.abs(fitted.at(1.8e9, 1e10, ratios) - losses).max())

    assert miss(1 - SHARES, GENERAL_LOSS) == pytest.approx(0.0043, abs=1e-4)
    assert miss(SHARES, GENERAL_LOSS) == pytest.approx(0.454, abs=1e-3)
    assert miss(SHARES, DOMAIN_LOSS) == pytest.approx(0.00144, abs=1e-5)  # least squares from 300 other starts agree
    assert miss(1 - SHARES, DOMAIN_LOSS) == pytest.approx(0.0066, abs=1e-4)


def test_the_published_optimum_is_found() -> None:
    assert float(np.interp(LIMIT, GENERAL_LOSS, SHARES)) == pytest.approx(0.9245, abs=5e-5)
    pairs = ((DOMAIN, SHARES, DOMAIN_LOSS), (GENERAL, 1 - SHARES, GENERAL_LOSS))
    surfaces = {name: fit_surface(at_one_place(r, losses), 1.0, 8, 0) for name, r, losses in pairs}
    assert best_ratio(surfaces, 1.8e9, 1e10, (0.9, 1.0), LIMIT) == pytest.approx(0.924, abs=2e-3)


def flat(values: list[float]) -> Surface:
    return Surface(np.array(values), 1.0, 1.0)


def test_the_tolerance_bounds_the_share_and_without_one_the_domain_loss_decides() -> None:
    domain = flat([1, 0, 1, 0, 1, 1, 1, 1, 1])  # 1 + 1 / (r + 1): all of it is best
    general = flat([1, 0, 1, 0, 1, 1, 1, 1, 1])  # 1 + 1 / (2 - r_d)
    both = {DOMAIN: domain, GENERAL: general}
    assert best_ratio(both, 1, 1, (0.1, 0.9), None) == pytest.approx(0.9)
    assert best_ratio(both, 1, 1, (0.1, 0.9), 1 + 1 / 1.5) == pytest.approx(0.5, abs=1e-4)
    assert np.isnan(best_ratio(both, 1, 1, (0.1, 0.9), 1.5))


def test_little_new_text_asks_for_more_replay() -> None:
    """L = 1 + r / D + 0.4 / (r + 0.1) with D = 1 / r is r^2 + 0.4 / (r + 0.1): least where 2 r (r + 0.1)^2 = 0.4."""
    domain = flat([1, 0, 1, 1, 1, 1, 0.4, 1, 0.1])
    both = {DOMAIN: domain, GENERAL: domain}
    found = best_ratio(both, 1, 1e9, (0.1, 1.0), None, domain_tokens=1)
    assert 2 * found * (found + 0.1) ** 2 == pytest.approx(0.4, abs=1e-3)
    assert best_ratio(both, 1, 1.0, (0.1, 1.0), None, domain_tokens=1e9) == best_ratio(both, 1, 1.0, (0.1, 1.0), None)


def test_a_law_that_rises_with_its_own_text_is_found_out() -> None:
    good, bad = flat([1, 0, 1, 0.1, 1, 1, 1, 1, 0.1]), flat([1, 0, 1, 1, 1, 2, 0.1, 1, 0.1])
    assert good.rises([1.0, 10.0], (0.1, 0.9)) is None
    assert bad.rises([1.0, 10.0], (0.1, 0.9)) == (1.0, pytest.approx(0.9))  # where D is smallest
    steep = flat([1, 0, 1, 1, 1, 0.5, 0.1, 1, 0.5])  # eta < 1: dL/dr is infinite at r = 0
    assert steep.rises([1.0], (0.0, 1.0)) is not None


def test_the_gradient_is_that_of_the_loss() -> None:
    points = seen(TRUE, [5e8, 4e9])
    points = Seen(points.parameters, points.tokens, points.ratios, points.losses * 1.002)
    logs = np.log(points.parameters / 1e9), np.log(points.tokens / 1e9)
    fit = domain_laws._Points(points, *logs, np.ones(9, dtype=bool), delta=1e-2)
    theta = np.log(TRUE.values) + 0.003
    numbers = [(fit.huber(theta + 1e-6 * axis)[0] - fit.huber(theta - 1e-6 * axis)[0]) / 2e-6 for axis in np.eye(9)]
    assert fit.huber(theta)[1] == pytest.approx(numbers, rel=1e-5, abs=1e-7)


ROLES = {DOMAIN: "domain", GENERAL: "general", "law": "domain"}


def curves(noise: float = 0.0, seed: int = 0) -> list[Curve]:
    random, tokens = np.random.default_rng(seed), np.linspace(1e9, 20e9, 12)
    found = []
    for ratio in (0.2, 0.4, 0.6, 0.8):
        own = {DOMAIN: ratio, GENERAL: 1 - ratio, "law": ratio}
        losses = {
            name: TRUE.at(1e9, tokens, share)[None] + noise * random.normal(size=(1, 12)) for name, share in own.items()
        }
        losses["law"] = losses["law"] + 1
        found.append(Curve(ratio, tokens, losses, dict.fromkeys(own, 4.0), num_parameters=10**9))
    return found


def test_each_group_and_task_has_its_own_surface_or_its_groups() -> None:
    laws, r2 = fit_laws(curves(), ROLES, 1e-3, 2, seed=0, min_r2=0.8)
    assert min(r2.values()) > 0.9999
    assert laws.losses(1e9, 30e9, 0.5)["law"] == pytest.approx(float(TRUE.at(1e9, 30e9, 0.5)) + 1, rel=1e-3)
    jagged = curves()
    for place, curve in enumerate(jagged):
        curve.losses["law"][0, :] += 2 * (-1) ** np.arange(12) * (-1) ** place  # type: ignore[index]
    moved, _ = fit_laws(jagged, ROLES, 1e-3, 2, seed=0, min_r2=0.8)
    assert moved.apart["law"] == pytest.approx(1)
    assert moved.losses(1e9, 2e10, 0.5)["law"] == pytest.approx(moved.losses(1e9, 2e10, 0.5)[DOMAIN] + 1)


def test_laws_are_written_as_json_and_read_and_drawn_alike_under_a_seed() -> None:
    noisy = curves(noise=1e-3)
    laws, _ = fit_laws(noisy, ROLES, 1e-3, 2, seed=0, min_r2=0.8)
    again = Laws.read(json.loads(json.dumps(laws.written(), allow_nan=False)))
    assert again.losses(1e9, 1e10, 0.5) == pytest.approx(laws.losses(1e9, 1e10, 0.5))
    one, other = (draw_laws(noisy, laws, 1e-3, 3, seed=4) for _ in range(2))
    assert one[2].losses(1e9, 1e10, 0.5) == other[2].losses(1e9, 1e10, 0.5)
    assert one[2].losses(1e9, 1e10, 0.5) != one[1].losses(1e9, 1e10, 0.5)
