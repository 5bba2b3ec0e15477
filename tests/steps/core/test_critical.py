import json
from dataclasses import replace

import numpy as np
import pytest

from steps.core.critical import (
    Choice,
    CriticalLaw,
    choose,
    critical_points,
    draw_critical,
    fit_critical,
    predicted,
    quality,
    read,
    well_fitted,
    written,
)
from steps.core.curves import DOMAIN, GENERAL
from steps.core.laws import Powers, interval, power, turning_point
from tests.steps.core.pilot_worlds import ROLES, START, UNIT, critical_ratio, curves, losses

RATIOS = [0.2, 0.3, 0.4, 0.5, 0.6]
LAMBDA = 1000.0


@pytest.mark.parametrize(
    ("factor", "exponent", "constant", "published"),
    [
        (0.22524761, 0.26944345, -0.48139982, 0.2976),  # arXiv:2407.17467, table 5: finance, 460M
        (0.7520627, 0.13720245, -1.06581937, 0.3489),  # 940M
        (-2.36384831, -0.15125569, 1.59223649, 0.4143),  # 1.6B
        (-2.5368197, -0.42071423, 0.84375368, 0.4783),  # 3.1B
    ],
)
def test_published_constants_give_the_published_ratios(
    factor: float, exponent: float, constant: float, published: float
) -> None:
    assert power(factor, exponent, constant).at(100)[0, 0] == pytest.approx(
        published, abs=5e-5
    )  # T: units of 100 steps


def with_points(points: list[float], ratios: list[float], general: float = 2.5) -> CriticalLaw:
    """Losses that stay where they are, 0.001 apart from ratio to ratio."""

    def still(start: float) -> list[Powers]:
        levels = [np.array([general + 0.001 * place - start]) for place in range(len(ratios))]
        return [Powers(np.zeros((1, 1)), np.ones((1, 1)), level) for level in levels]

    powers = {name: still(start) for name, start in START.items()}
    return CriticalLaw(np.array(ratios), 100.0, ROLES, START, powers, np.array([points]), np.ones(len(ratios), bool))


def test_the_law_through_published_points_gives_the_published_ratio() -> None:
    """Turning points that lie on table 5's 1.6B law: eq. 8 is found again and evaluated at the budget."""
    ratios = [0.25, 1 / 3, 0.5, 0.75]
    points = [100 * ((ratio - 1.59223649) / -2.36384831) ** (-1 / 0.15125569) for ratio in ratios]
    law = with_points(points, ratios)
    assert choose(law, 100 * 100, epsilon=0.05) == Choice(
        pytest.approx(0.4143, abs=1e-4), "critical", pytest.approx(0.4143, abs=1e-4), 0.75
    )


def test_without_noise_the_true_ratio_is_recommended() -> None:
    law = fit_critical(curves(RATIOS), ROLES, LAMBDA)
    for tokens in (0.3 * UNIT, 0.6 * UNIT, 0.9 * UNIT):
        assert choose(law, tokens, epsilon=0.05).ratio == pytest.approx(critical_ratio(tokens), abs=1e-3)


def test_the_root_is_that_of_the_equation_and_nears_the_turning_point_as_lambda_grows() -> None:
    general = Powers(np.array([[0.1, -0.08]]), np.array([[0.3, 0.6]]), np.array([0.0]))
    domain = power(-0.4, 0.25, 0.0)
    turn = turning_point(general)
    for lambda_ in (100.0, 1000.0, 7000.0):
        point = critical_points([domain], [general], lambda_, 0.01)[0, 0]
        (a1,), (s1,), (a2, a3), (s2, s3) = (
            domain.factors[0],
            domain.exponents[0],
            general.factors[0],
            general.exponents[0],
        )
        equation_7 = (-a1 * s1 / (lambda_ * a2 * s2) / (1 + a3 * s3 / (a2 * s2) * point ** (s3 - s2))) ** (
            1 / (s2 - s1)
        )
        assert point == pytest.approx(equation_7, rel=1e-8)
    assert critical_points([domain], [general], 1e9, 0.01)[0, 0] == pytest.approx(turn, rel=1e-6)


def test_a_first_fall_by_the_domain_loss_alone_is_no_turn() -> None:
    """F' = -0.5 T^-1.5 + 6 T^-0.5 - 5.5 T^-0.2 is below 0, then above, then below again: the last counts."""
    domain = power(1.0, -0.5, 0.0)
    general = Powers(np.array([[12.0, -5.5 / 0.8]]), np.array([[0.5, 0.8]]), np.zeros(1))
    slopes = (domain.slope(np.array([0.001, 0.3, 1.5])) + general.slope(np.array([0.001, 0.3, 1.5])))[0]
    assert np.sign(slopes).tolist() == [-1, 1, -1]
    assert critical_points([domain], [general], 1.0, 0.001)[0, 0] == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize(
    ("factors", "kind"),
    [([-0.1, -0.1], 0.0), ([0.1, 0.1], np.inf), ([-0.1, 0.2], np.inf)],  # falls; rises; a valley that rises at the end
)
def test_what_falls_is_feasible_from_the_start_and_what_rises_never(factors: list[float], kind: float) -> None:
    general = Powers(np.array([factors]), np.array([[0.3, 0.6]]), np.zeros(1))
    assert critical_points([power(-0.1, 0.3, 0.0)], [general], 1e6, 0.04)[0, 0] == kind


def test_all_that_falls_gives_the_largest_ratio_tested() -> None:
    assert choose(with_points([0, 0, 0, 0], RATIOS[:4]), 200.0, 0.05) == Choice(0.5, "tested", 0.5, 0.5)


def test_too_few_turning_points_give_the_largest_ratio_that_turned() -> None:
    law = with_points([0, 50.0, np.inf, np.inf], RATIOS[:4])
    assert choose(law, 200.0, 0.05) == Choice(0.3, "turned", 0.3, 0.5)


def test_what_rises_everywhere_gives_no_ratio() -> None:
    found = choose(with_points([np.inf] * 4, RATIOS[:4]), 200.0, 0.05)
    assert np.isnan(found.ratio)
    assert found.bound == "rising"


def test_a_turned_ratio_above_the_tolerance_is_not_feasible() -> None:
    law = with_points([0, 0, 0, 0], RATIOS[:4])  # general loss ends at 2.5, 2.501, 2.502, 2.503
    found = choose(law, 100.0, epsilon=0.001)
    assert found.bound == "tolerance"
    assert found.ratio == pytest.approx(0.3, abs=1e-3)
    above = choose(with_points([0, 0, 0, 0], RATIOS[:4], general=2.6), 100.0, epsilon=0.05)
    assert np.isnan(above.ratio)
    assert above.bound == "intolerable"


def test_the_law_is_clipped_to_a_share() -> None:
    law = with_points([1e-6, 1e-5, 1e-4, np.inf], RATIOS[:4])
    assert choose(law, 1e30, 0.05).critical == 1


def test_the_interval_covers_the_true_ratio_in_most_seeds() -> None:
    tokens, covered = 0.6 * UNIT, 0
    for seed in range(20):
        seen = curves(RATIOS, noise=3e-4, seed=seed)
        law = fit_critical(seen, ROLES, LAMBDA)
        drawn = draw_critical(seen, law, LAMBDA, 60, seed=0)
        general = drawn.over_ratios(GENERAL, tokens)
        edges = interval(np.array([choose(drawn, tokens, 0.05, draw, general).ratio for draw in range(60)]))
        covered += edges is not None and edges[0] <= critical_ratio(tokens) <= edges[1]
    assert covered >= 14  # 18 expected of 90 % intervals


def test_losses_between_ratios_and_beyond_the_pilots_are_predicted() -> None:
    law = fit_critical(curves(RATIOS), ROLES, LAMBDA)
    found = predicted(law, 0.45, 2 * UNIT, min_r2=0.8)
    true = losses(0.45, np.array([2.0]))
    assert found[DOMAIN][0] == pytest.approx(true[DOMAIN][0], abs=1e-3)
    assert found[GENERAL][0] == pytest.approx(true[GENERAL][0], abs=0.05)  # its ratio law is no power here


def test_beyond_the_pilots_a_loss_goes_on_from_its_slope_and_no_faster_than_a_root() -> None:
    law = with_points([0, 0, 0, 0], RATIOS[:4])
    straight, bent = power(-0.1, 1.0, 0.0), Powers(np.array([[0.3, -0.2]]), np.array([[0.5, 1.0]]), np.zeros(1))
    law = replace(law, powers={DOMAIN: [straight] * 4, GENERAL: [bent] * 4})
    assert law.losses_at(DOMAIN, 100.0)[0, 0] == pytest.approx(2.9)
    assert law.losses_at(DOMAIN, 400.0)[0, 0] == pytest.approx(2.9 - 0.1 * 2)  # (4^0.5 - 1) / 0.5 = 2, not 3
    assert law.losses_at(GENERAL, 400.0)[0, 0] == pytest.approx(2.6 - 0.05 * np.log(4))  # not 2.5 + 0.6 - 0.8


def test_a_task_without_a_law_of_its_own_takes_its_groups_with_its_distance() -> None:
    law = fit_critical(curves(RATIOS), ROLES, LAMBDA)
    apart = [1.3, 0.7, 1.3, 0.7, 1.0]
    pairs = zip(law.powers[DOMAIN], apart, strict=True)
    jagged = [replace(one, constant=one.constant + START[DOMAIN] + by - 4.0) for one, by in pairs]
    names = {"roles": {**ROLES, "tax": "domain"}, "starts": {**START, "tax": 4.0}}
    law = replace(law, powers={**law.powers, "tax": jagged}, **names)
    found = predicted(law, 0.4, UNIT, min_r2=0.8)
    assert found["tax"][0] == pytest.approx(found[DOMAIN][0] + 1)


def test_a_law_is_written_as_json_and_read() -> None:
    law = fit_critical(curves(RATIOS), ROLES, LAMBDA)
    again = read(json.loads(json.dumps(written(law), allow_nan=False)))
    assert choose(again, 0.6 * UNIT, 0.05) == choose(law, 0.6 * UNIT, 0.05)


def test_ratios_that_cannot_be_fitted_are_left_out_and_too_few_refused() -> None:
    good = curves(RATIOS)
    r2 = quality(fit_critical(good, ROLES, LAMBDA), good)
    assert min(r2[GENERAL].values()) > 0.999
    noise = curves([0.55], noise=0.5)
    kept, found = well_fitted([*good[:4], *noise], ROLES, LAMBDA, min_r2=0.8)
    assert [curve.ratio for curve in kept] == RATIOS[:4]
    assert found["general 0.55"] < 0.8
    with pytest.raises(ValueError, match=r"wanted R2 of at least 0.8 .* over tokens at 4 ratios.*general 0.55"):
        well_fitted([*good[:3], *noise], ROLES, LAMBDA, min_r2=0.8)


def test_a_loss_that_hardly_moves_is_kept_but_its_turn_counts_for_nothing() -> None:
    seen = curves(RATIOS, noise=1e-4)
    level = fit_critical(seen, ROLES, LAMBDA).over_ratios(GENERAL, UNIT).at(0.15)
    still = curves([0.15])[0]
    flat = level + 1e-4 * np.random.default_rng(0).normal(size=(1, 25))
    still = replace(still, losses={DOMAIN: still.losses[DOMAIN], GENERAL: flat})
    kept, r2 = well_fitted([still, *seen], ROLES, LAMBDA, min_r2=0.8)
    assert r2["general 0.15"] < 0.8
    assert kept[0] is still
    law = fit_critical(kept, ROLES, LAMBDA, min_r2=0.8)
    assert law.firm.tolist() == [False, True, True, True, True, True]
    assert read(written(law)).firm.tolist() == law.firm.tolist()
