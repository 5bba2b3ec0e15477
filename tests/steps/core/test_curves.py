import numpy as np
import pytest

from steps.core.curves import DOMAIN, GENERAL, Curve, change_error, dots, draws_of, held_out_rows, line, panel
from tests.steps.core.pilot_worlds import ROLES, curves


def flat(ratio: float, *runs: list[float]) -> Curve:
    return Curve(ratio, np.arange(1.0, len(runs[0]) + 1), {GENERAL: np.array(runs)}, {GENERAL: 5.0})


def test_without_noise_every_draw_is_the_curve() -> None:
    one = flat(0.5, [3.0, 2.0, 1.0])
    drawn = draws_of([one], {GENERAL: [one.mean(GENERAL)]}, num_draws=4, seed=0)
    assert (drawn[GENERAL][0] == [3, 2, 1]).all()


def test_residuals_of_one_run_are_drawn_around_the_fit() -> None:
    drawn = draws_of([flat(0.5, [3.1, 1.9])], {GENERAL: [np.array([3.0, 2.0])]}, num_draws=50, seed=0)[GENERAL][0]
    assert set(np.round(drawn[:, 0], 9)) == {3.1, 2.9}


def test_runs_of_several_seeds_are_drawn_whole_from_all_ratios() -> None:
    several = [flat(0.5, [3.0, 2.0], [3.2, 2.2]), flat(0.7, [4.0, 3.0], [4.0, 3.0])]
    drawn = draws_of(several, {GENERAL: [np.zeros(2), np.zeros(2)]}, num_draws=100, seed=0)[GENERAL]
    assert drawn[1].std() > 0, "the second ratio borrows the first one's spread"
    assert np.allclose(drawn[0][:, 0] - drawn[0][:, 1], 1), "a run stays a run"


def test_the_same_seed_draws_the_same() -> None:
    noisy = curves([0.3, 0.5], noise=0.01)
    fitted = {name: [curve.mean(name) for curve in curves([0.3, 0.5])] for name in ROLES}
    one, other, third = (draws_of(noisy, fitted, 5, seed)[DOMAIN][1] for seed in (0, 0, 1))
    assert (one == other).all()
    assert not (one == third).all()


def test_a_held_out_run_stands_beside_its_prediction_and_the_line_between_its_neighbours() -> None:
    fitted, unseen = [flat(0.4, [4.0, 3.0]), flat(0.8, [4.0, 2.0])], [flat(0.5, [4.0, 2.5])]
    (row,) = held_out_rows(unseen, fitted, {GENERAL: "general"}, lambda name, ratio, tokens: 2.6)
    assert (row["start"], row["actual"], row["predicted"], row["interpolated"]) == (5, 2.5, 2.6, 2.75)
    assert row["task"] is None
    assert change_error([row], "general") == pytest.approx(0.1 / 2.5)
    assert change_error([row], "general", "interpolated") == pytest.approx(0.25 / 2.5)
    assert change_error([row], "general", "start") == 1
    assert change_error([row], "domain") is None


def test_a_band_is_the_ninety_percent_of_its_draws() -> None:
    band = np.arange(101.0)[:, None]
    assert line("a", np.array([1.0]), np.array([50.0]), band) == {
        "label": "a",
        "x": [1.0],
        "y": [50.0],
        "low": [5.0],
        "high": [95.0],
    }
    assert "low" not in line("a", np.array([1.0]), np.array([50.0]), np.array([[np.nan]]))


def test_a_panel_holds_plain_values() -> None:
    made = panel("t", "x", "y", [], [dots("a", np.array([1.0]), [2.0], held_out=True)])
    assert made["points"] == [{"label": "a", "x": [1.0], "y": [2.0], "held_out": True}]
    assert made["marks"] == []
