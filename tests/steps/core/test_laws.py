import numpy as np
import pytest

from steps.core.laws import (
    Powers,
    fit_powers,
    interpolated,
    interval,
    last_crossing,
    power,
    r_squared,
    turning_point,
)

TOKENS = np.linspace(1000, 50_000, 25)


def test_a_power_law_is_found_again() -> None:
    law = power(-2.0, 0.3, 1.5)
    found = fit_powers(TOKENS, law.at(TOKENS), (-2, 2))
    assert found.exponents[0, 0] == pytest.approx(0.3, abs=1e-6)
    assert found.factors[0, 0] == pytest.approx(-2, rel=1e-5)
    assert found.constant[0] == pytest.approx(1.5, abs=1e-4)


def test_a_rise_and_fall_is_found_again_and_so_is_its_turning_point() -> None:
    law = Powers(np.array([[0.02, -3e-5]]), np.array([[0.3, 0.9]]), np.array([0.1]))
    found = fit_powers(TOKENS, law.at(TOKENS), (-2, 2), num_terms=2)
    assert np.abs(found.at(TOKENS) - law.at(TOKENS)).max() < 1e-8
    wanted = (0.02 * 0.3 / (3e-5 * 0.9)) ** (1 / 0.6)  # about 8,200 tokens
    assert turning_point(law) == pytest.approx(wanted, rel=1e-12)
    assert turning_point(found) == pytest.approx(wanted, rel=1e-4)


def test_many_laws_are_fitted_at_once_on_a_grid_that_knows_one_of_them() -> None:
    law = power(-2.0, 0.3217, 1.5)
    both = np.concatenate([law.at(TOKENS), 3 * law.at(TOKENS)])
    found = fit_powers(TOKENS, both, (-2, 2), near=law)
    assert found.exponents[:, 0] == pytest.approx([0.3217, 0.3217], abs=1e-12)
    assert found.factors[:, 0] == pytest.approx([-2, -6])


def test_a_slope_is_the_derivative() -> None:
    law = Powers(np.array([[2.0, -1.0]]), np.array([[0.5, 1.0]]), np.array([0.0]))
    assert law.slope(4.0)[0, 0] == pytest.approx(2 * 0.5 / 2 - 1)


@pytest.mark.parametrize(
    ("factors", "turns"),
    [([2.0, -1.0], 1.0), ([-2.0, 1.0], None), ([2.0, 1.0], None), ([-2.0, -1.0], None)],
)
def test_only_a_rise_and_fall_turns(factors: list[float], turns: float | None) -> None:
    law = Powers(np.array([factors]), np.array([[0.5, 1.0]]), np.array([0.0]))  # 2 sqrt(x) - x turns at 1
    assert turning_point(law) == turns


def test_the_last_crossing_is_taken_not_the_first() -> None:
    places = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    slopes = np.array([[1, -1, 1, -1, -1], [1, 1, 1, 1, 1], [-1, -1, 1, 1, 1]], dtype=float)
    assert last_crossing(slopes, places)[0] == pytest.approx(np.sqrt(32))
    assert np.isnan(last_crossing(slopes, places)[1:]).all(), "a valley is no crossing from + to -"


def test_r_squared_by_hand() -> None:
    assert r_squared(np.array([0.0, 2.0]), np.array([0.5, 1.5])) == 0.75
    assert r_squared(np.array([1.0, 1.0]), np.array([1.0, 1.0])) == 1


def test_between_two_ratios_a_line() -> None:
    assert interpolated(0.7, [0.8, 0.6], [2.0, 3.0]) == pytest.approx(2.5)


def test_an_interval_needs_most_of_its_draws() -> None:
    assert interval(np.array([1.0, np.nan, np.nan])) is None
    assert interval(np.arange(101.0)) == [5, 95]


def test_a_law_is_written_and_read() -> None:
    law = Powers(np.array([[0.02, -3e-5]]), np.array([[0.3, 0.9]]), np.array([0.1]))
    assert Powers.read(law.written()).at(TOKENS) == pytest.approx(law.at(TOKENS))
