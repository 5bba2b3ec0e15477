import math
from itertools import pairwise, product

import numpy as np
import pytest
from scipy import stats

from steps.core.proportions import PairedAnswers, exact_tail, paired_answers, score
from steps.core.statistics import PairedChange


def answers(lost: int, gained: int, number: int, per_document: int = 1) -> PairedChange:
    changes = [100.0] * lost + [-100.0] * gained + [0.0] * (number - lost - gained)
    chance = np.random.default_rng(3)
    order = chance.permutation(number)
    return paired_answers([changes[k] for k in order], [f"d{k // per_document}" for k in range(number)], 200, 0)


def variance_by_search(lost: int, gained: int, number: int, bound: float) -> float:
    """The variance at the share gained that makes the counts likeliest, by trying many."""
    gained_Q = np.linspace(1e-7, (1 - bound) / 2 - 1e-7, 400_001)
    lost_Q = gained_Q + bound
    likely_Q = (
        lost * np.log(lost_Q) + gained * np.log(gained_Q) + (number - lost - gained) * np.log1p(-lost_Q - gained_Q)
    )
    best = gained_Q[likely_Q.argmax()]
    return float(2 * best + bound - bound**2)


@pytest.mark.parametrize(("lost", "gained", "bound"), [(7, 3, 0.05), (1, 9, 0.02), (20, 18, 0.1)])
def test_the_score_is_the_distance_in_errors_of_the_likeliest_model_at_the_bound(
    lost: int, gained: int, bound: float
) -> None:
    error = math.sqrt(100 * variance_by_search(lost, gained, 100, bound))
    assert score(lost, gained, 100, bound) == pytest.approx((lost - gained - 100 * bound) / error, rel=1e-4)


def test_at_no_difference_the_score_is_that_of_mcnemar() -> None:
    assert score(12, 5, 100, 0.0) == pytest.approx((12 - 5) / math.sqrt(12 + 5))
    assert score(5, 12, 100, 0.0) == -score(12, 5, 100, 0.0)


def test_the_exact_tail_is_the_sum_over_all_outcomes() -> None:
    number, bound, lost, gained = 8, 0.2, 1, 2
    seen = score(lost, gained, number, bound)
    found = 0.0
    for share in np.linspace(0.0, (1 - bound) / 2, 101):
        shares = [share + bound, share, 1 - bound - 2 * share]
        tail = 0.0
        for more, less in product(range(number + 1), repeat=2):
            if more + less <= number and score(more, less, number, bound) <= seen + 1e-9:
                tail += stats.multinomial.pmf([more, less, number - more - less], number, np.clip(shares, 0, 1))
        found = max(found, tail)
    assert exact_tail(lost, gained, number, bound, below=True) == pytest.approx(found, rel=1e-9)


def test_nothing_that_changed_is_no_certainty() -> None:
    """Of a model that loses m of 100, none of n is lost with chance (1 - m)^n: 0.05 at 149 questions and 2 points."""
    for number, passes in ((100, False), (149, True)):
        change = answers(0, 0, number)
        assert change.error == 0
        assert (change.p_below(2.0) < 0.05) is passes
        assert change.p_below(2.0) >= 0.98**number - 1e-9
        low, high = change.interval()
        assert low == pytest.approx(-high)
        assert high == pytest.approx(100 * 1.96**2 / (number + 1.96**2), rel=1e-3)  # n x / (1 - x) = z^2


def test_more_lost_answers_are_more_harm() -> None:
    found = [answers(lost, 3, 120) for lost in range(12)]
    assert all(a.p_below(5.0) <= b.p_below(5.0) + 1e-9 for a, b in pairwise(found))
    assert all(a.p_above(1.0) >= b.p_above(1.0) - 1e-9 for a, b in pairwise(found))


@pytest.mark.parametrize(("share", "gained"), [(0.05, 0.0), (0.05, 0.03), (0.1, 0.05)])
def test_the_level_is_kept_whatever_else_changes(share: float, gained: float) -> None:
    draws = np.random.default_rng(1).multinomial(100, [share + gained, gained, 1 - share - 2 * gained], size=2000)
    passed = np.mean([exact_tail(int(a), int(b), 100, share, below=True) < 0.05 for a, b, _ in draws])
    failed = np.mean([exact_tail(int(a), int(b), 100, share, below=False) < 0.05 for a, b, _ in draws])
    most = 0.05 + 2 * math.sqrt(0.05 * 0.95 / 2000)
    assert passed < most
    assert failed < most


def test_many_questions_are_judged_as_by_the_t_test() -> None:
    change = answers(150, 130, 2000)
    assert change.interval() == pytest.approx(change.t_interval(), abs=0.05)
    assert change.p_below(2.0) == pytest.approx(stats.t.cdf((1.0 - 2.0) / change.error, 1999), abs=0.005)


def test_questions_of_one_document_are_worth_less() -> None:
    changes = [100.0, 100.0, 100.0] * 5 + [0.0, 0.0, 0.0] * 45  # documents lose all three questions or none
    together = paired_answers(changes, [f"d{k // 3}" for k in range(150)], 500, 0)
    apart = paired_answers(changes, [f"d{k}" for k in range(150)], 500, 0)
    assert isinstance(together, PairedAnswers)
    assert together.questions == pytest.approx(50, rel=0.02)
    assert together.p_above(2.0) > apart.p_above(2.0)
    assert together.interval()[1] > apart.interval()[1]
    same = paired_answers([0.0] * 150, [f"d{k // 3}" for k in range(150)], 500, 0)
    assert isinstance(same, PairedAnswers)
    assert same.questions == 50
    assert same.p_below(2.0) > 0.05


def test_power_falls_with_the_answers_that_change_and_rises_with_the_questions() -> None:
    def power(lost: int, number: int) -> float:
        return answers(lost, lost, number).power(5.0, 0.05)

    assert power(2, 100) > power(8, 100) > power(20, 100)
    assert power(8, 200) > power(4, 100)
    assert answers(0, 0, 40).power(5.0, 0.05) == 0.0  # 0.95^40 = 0.13: not even these can pass
    assert answers(0, 0, 80).power(5.0, 0.05) == 1.0


def test_power_is_the_share_of_unchanged_models_that_pass() -> None:
    draws = np.random.default_rng(2).multinomial(200, [0.04, 0.04, 0.92], size=2000)
    passed = np.mean([exact_tail(int(a), int(b), 200, 0.05, below=True) < 0.05 for a, b, _ in draws])
    assert answers(8, 8, 200).power(5.0, 0.05) == pytest.approx(passed, abs=0.05)


def test_graded_answers_are_judged_by_their_means() -> None:
    found = paired_answers([25.0, -50.0, 0.0], ["a", "b", "c"], 0, 0)
    assert type(found) is PairedChange
