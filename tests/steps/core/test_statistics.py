import math

import numpy as np
import pytest
from scipy import stats

from steps.core.statistics import (
    Clusters,
    group_change,
    holm,
    items_for_power,
    items_to_decide,
    paired_change,
    power,
)

NAMES = [f"d{k:03}" for k in range(200)]


def normal(mean: float, spread: float, seed: int, num_items: int = 200) -> list[float]:
    return list(np.random.default_rng(seed).normal(mean, spread, num_items))


def test_three_changes_by_hand() -> None:
    change = paired_change([1.0, 2.0, 3.0], ["a", "b", "c"], draws=0, seed=0)
    assert change.mean == 2.0
    assert change.error == pytest.approx(1 / math.sqrt(3))  # s = 1, n = 3
    assert change.spread == pytest.approx(1.0)
    assert change.t_interval() == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))


def test_two_items_of_one_document_by_hand() -> None:
    change = paired_change([1.0, 3.0, 5.0], ["a", "a", "b"], draws=0, seed=0)
    # mean 3; the residuals sum to -2 in a and 2 in b; variance 2/1 * (4 + 4) / 9
    assert (change.mean, change.num_items, change.num_documents) == (3.0, 3, 2)
    assert change.error == pytest.approx(math.sqrt(16 / 9))


def test_one_item_per_document_is_the_ordinary_t_test() -> None:
    changes = normal(-0.02, 0.3, seed=1)
    change = paired_change(changes, NAMES, draws=0, seed=0)
    below = stats.ttest_1samp(changes, 0.03, alternative="less")
    above = stats.ttest_1samp(changes, 0.03, alternative="greater")
    assert change.p_below(0.03) == pytest.approx(below.pvalue, rel=1e-9)
    assert change.p_above(0.03) == pytest.approx(above.pvalue, rel=1e-9)
    assert change.t_interval() == pytest.approx(stats.ttest_1samp(changes, 0.0).confidence_interval(0.95))


def test_copies_of_every_item_in_its_document_add_no_certainty() -> None:
    changes = normal(0.0, 0.3, seed=2, num_items=40)
    once = paired_change(changes, NAMES[:40], draws=200, seed=0)
    thrice = paired_change(changes * 3, NAMES[:40] * 3, draws=200, seed=0)
    assert thrice.error == pytest.approx(once.error, rel=1e-12)
    assert thrice.interval() == pytest.approx(once.interval(), rel=1e-9)


def test_the_order_of_the_items_does_not_count() -> None:
    changes = normal(0.0, 0.3, seed=3, num_items=50)
    forward = paired_change(changes, NAMES[:50], draws=300, seed=0)
    back = paired_change(changes[::-1], NAMES[:50][::-1], draws=300, seed=0)
    assert back.interval() == forward.interval()


def test_the_seed_decides_the_bootstrap() -> None:
    changes = normal(0.0, 0.3, seed=3, num_items=50)
    first, again, other = (paired_change(changes, NAMES[:50], draws=300, seed=seed) for seed in (0, 0, 1))
    assert first.bootstrap_interval() == again.bootstrap_interval() != other.bootstrap_interval()


def test_on_normal_changes_the_bootstrap_agrees_with_t() -> None:
    change = paired_change(normal(0.0, 0.3, seed=4), NAMES, draws=4000, seed=0)
    assert change.bootstrap_interval() == pytest.approx(change.t_interval(), abs=0.15 * change.error)


def test_the_wider_of_both_intervals_judges() -> None:
    heavy = list(np.random.default_rng(5).lognormal(0.0, 1.5, 60))
    change = paired_change(heavy, NAMES[:60], draws=2000, seed=0)
    low, high = change.interval()
    assert low == min(change.t_interval()[0], change.bootstrap_interval()[0])
    assert high == max(change.t_interval()[1], change.bootstrap_interval()[1])
    assert high > change.t_interval()[1]  # a long right tail reaches further up than t believes
    bound = (change.t_interval(0.1)[1] + change.bootstrap_interval(0.1)[1]) / 2
    assert change.p_below(bound) > 0.05 > stats.ttest_1samp(heavy, bound, alternative="less").pvalue


def test_beyond_what_the_draws_can_tell_the_t_test_speaks_alone() -> None:
    change = paired_change(normal(1.0, 0.3, seed=6, num_items=50), NAMES[:50], draws=100, seed=0)
    assert change.p_above(0.0) == pytest.approx(
        stats.ttest_1samp(normal(1.0, 0.3, seed=6, num_items=50), 0.0, alternative="greater").pvalue, rel=1e-6
    )


def test_a_group_of_one_task_is_that_task() -> None:
    changes = normal(0.0, 0.3, seed=7, num_items=40)
    alone = paired_change(changes, NAMES[:40], draws=500, seed=0)
    group = group_change([Clusters.of(changes, NAMES[:40])], draws=500, seed=0)
    assert group.interval() == pytest.approx(alone.interval(), rel=1e-12)
    assert group.p_below(0.05) == pytest.approx(alone.p_below(0.05), rel=1e-12)


def test_a_group_is_as_sure_as_the_sum_of_its_tasks() -> None:
    tasks = [Clusters.of(normal(0.1, 0.3, seed, num_items=50), NAMES[:50]) for seed in (8, 9, 10, 11)]
    errors = [float(each.mean_and_error(np.ones((1, 50)))[1][0]) for each in tasks]
    group = group_change(tasks, draws=2000, seed=0)
    assert group.error == pytest.approx(math.sqrt(sum(error**2 for error in errors)) / 4)
    assert 150 < group.freedom < 196  # four times 49, less for the errors that differ
    assert group.bootstrap_interval() == pytest.approx(group.t_interval(), abs=0.2 * group.error)


def test_a_group_that_did_not_change_is_certain() -> None:
    group = group_change([Clusters.of([0.0] * 5, NAMES[:5])] * 3, draws=100, seed=0)
    assert (group.error, group.p_below(0.05), group.num_items) == (0.0, 0.0, 15)


def test_no_change_at_all_is_certain() -> None:
    change = paired_change([0.0] * 5, NAMES[:5], draws=100, seed=0)
    assert change.interval() == (0.0, 0.0)
    assert (change.p_below(0.05), change.p_below(0.0), change.p_above(0.0)) == (0.0, 1.0, 1.0)


def test_the_same_change_everywhere_has_no_spread_but_rounding() -> None:
    change = paired_change([0.1] * 7, NAMES[:7], draws=100, seed=0)
    assert change.error == 0.0
    assert (change.p_above(0.05), change.p_below(0.05)) == (0.0, 1.0)


def test_one_document_that_changed_among_many_keeps_a_finite_interval() -> None:
    change = paired_change([1.0] + [0.0] * 39, NAMES[:40], draws=2000, seed=0)
    assert all(math.isfinite(end) for end in change.interval())
    assert change.p_below(0.0) > 0.05


def test_a_single_document_has_no_spread() -> None:
    with pytest.raises(ValueError, match="at least 2 documents, found 1; hold out more"):
        paired_change([0.1, 0.2], ["a", "a"], draws=0, seed=0)


@pytest.mark.parametrize(("mean", "rate"), [(0.03, 0.050), (0.0, 0.41), (0.06, 0.001)])
def test_pass_rates_at_200_items_spread_0_3_and_margin_0_03(mean: float, rate: float) -> None:
    passed = [
        paired_change(normal(mean, 0.3, seed), NAMES, draws=0, seed=0).p_below(0.03) < 0.05 for seed in range(3000)
    ]
    assert np.mean(passed) == pytest.approx(rate, abs=3 * math.sqrt(rate * (1 - rate) / 3000) + 0.005)


def test_the_bootstrap_keeps_the_level_at_the_margin() -> None:
    passed = [
        paired_change(normal(0.03, 0.3, seed), NAMES, draws=400, seed=seed).p_below(0.03) < 0.05 for seed in range(400)
    ]
    assert 0.02 < np.mean(passed) < 0.08


def test_power_and_the_items_that_it_wants() -> None:
    assert power(0.0, 0.3, 0.03, 200) == pytest.approx(0.41, abs=0.005)
    assert power(0.03, 0.3, 0.03, 200) == pytest.approx(0.05, abs=1e-9)
    assert items_for_power(0.8, 0.3, 0.03) == 619
    assert power(0.0, 0.3, 0.03, 619) == pytest.approx(0.80, abs=0.001)


def test_items_that_would_decide() -> None:
    assert items_to_decide(0.0, 0.3, bound=0.03, level=0.05, margin=0.03) == 271  # (1.645 * 0.3 / 0.03)^2 = 270.6
    assert items_to_decide(0.06, 0.3, bound=0.03, level=0.05, margin=0.03) == 271
    assert items_to_decide(0.028, 0.3, bound=0.03, level=0.05, margin=0.03) is None  # within a tenth of the margin


def test_holm_compares_the_smallest_with_a_share_of_the_level() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}, 0.05) == {"a"}  # 0.01 < 0.05/3, 0.03 >= 0.05/2
    assert holm({"a": 0.01, "b": 0.04, "c": 0.02}, 0.05) == {"a", "b", "c"}
    assert holm({"a": 0.02, "b": 0.5, "c": 0.5}, 0.05) == set()
    assert holm({}, 0.05) == set()


def test_a_drift_of_a_fifth_of_the_margin_runs_into_the_budget_after_ten_refreshes() -> None:
    margin, budget, spread, num_items = 0.05, 2.0, 0.1, 400
    passes = [power(0.2 * margin * refresh, spread, budget * margin, num_items) for refresh in (5, 10, 15)]
    assert passes[0] > 0.99
    assert passes[1] == pytest.approx(0.05, abs=1e-9)
    assert passes[2] < 0.001
