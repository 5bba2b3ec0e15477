"""Paired questions that are right or wrong: tests that stay honest where few or none changed.

Of n questions, `lost` were right under the other model and are wrong under the candidate, `gained` the other way round;
what is judged is the share lost less the share gained. Where none changed, a t test would be certain; these are not.

- Score test of Tango (Statistics in Medicine 17, 1998, 891-908; recalled): the difference against its variance where
  it equals the bound, with the nuisance at its maximum of likelihood.
- Exact: its largest tail over the nuisance (Sidik, Statistics in Medicine 22, 2003, 265-278; recalled), up to
  MOST_EXACT questions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from steps.core.statistics import NORMAL, PairedChange, paired_change

POINTS = 100.0
MOST_EXACT = 1000  # questions; above, the score test is exact enough, and the table of outcomes large
NUISANCES = 101  # values of the share gained at which the tail is taken


@dataclass(frozen=True)
class PairedAnswers(PairedChange):
    """The mean change of right-or-wrong questions, in points; judged by their counts.

    Where several questions share a document, the counts are those of as many independent questions as the clustered
    error is worth (as many as there are documents where it is zero), and the wider of this and the t test judges.
    """

    lost: float = 0.0
    gained: float = 0.0
    questions: float = 0.0

    @property
    def independent(self) -> bool:
        """Whether no two questions share a document."""
        return self.num_documents == self.num_items

    @cached_property
    def _interval(self) -> tuple[float, float]:
        reach = NORMAL.inv_cdf(0.975)
        ends = (self._where_score(reach), self._where_score(-reach))
        if self.independent:
            return ends
        student = super().interval()
        return min(ends[0], student[0]), max(ends[1], student[1])

    def interval(self, level: float = 0.05) -> tuple[float, float]:
        """Two-sided 95 % interval by the score test."""
        assert level == 0.05, level
        return self._interval

    def _where_score(self, reach: float) -> float:
        """The difference at which the score is `reach`: bisection, it falls as the difference rises."""
        low, high = -1.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            above = score(self.lost, self.gained, self.questions, middle) > reach
            low, high = (middle, high) if above else (low, middle)
        return POINTS * (low + high) / 2

    def _p_value(self, distance: float, below: bool) -> float:
        bound = (self.mean - distance) / POINTS
        if self.independent and self.num_items <= MOST_EXACT:
            return exact_tail(round(self.lost), round(self.gained), self.num_items, round(bound, 12), below=below)
        value = score(self.lost, self.gained, self.questions, bound)
        found = NORMAL.cdf(value if below else -value)
        return found if self.independent else max(found, super()._p_value(distance, below))

    def spread_at(self, bound: float) -> float:
        """Standard deviation per question if the true change were `bound`."""
        variance = _variance(self.lost, self.gained, self.questions, bound / POINTS)
        return POINTS * math.sqrt(variance * self.num_items / self.questions)

    def power(self, margin: float, level: float) -> float:
        """Probability that a model that loses as much as it gains passes, if as many answers change."""
        changed, share = self.lost + self.gained, margin / POINTS
        apart = NORMAL.inv_cdf(1 - level) * math.sqrt(_variance(changed / 2, changed / 2, self.questions, share))
        lead = share * math.sqrt(self.questions) - apart
        return NORMAL.cdf(lead / math.sqrt(changed / self.questions)) if changed else float(lead > 0)


def paired_answers(changes: Sequence[float], documents: Sequence[str], draws: int, seed: int) -> PairedChange:
    """The mean change of a suite in points; by counts where every question is right or wrong under both models."""
    plain = paired_change(changes, documents, draws, seed)
    if not set(changes) <= {-POINTS, 0.0, POINTS}:
        return plain
    lost, gained, number = changes.count(POINTS), changes.count(-POINTS), len(changes)
    worth = float(number)
    if plain.num_documents < number:
        alone = float(np.std(changes, ddof=1)) / math.sqrt(number)
        worth = number * min(1.0, (alone / plain.error) ** 2) if plain.error > 0 else float(plain.num_documents)
    scale = worth / number
    kept = (plain.mean, plain.error, plain.num_items, plain.num_documents, plain.draws, plain.freedom)
    return PairedAnswers(*kept, lost=scale * lost, gained=scale * gained, questions=worth)


def _variance(lost: float, gained: float, questions: float, bound: float) -> float:
    """Variance of one question's change where the share lost less the share gained is `bound`."""
    if bound < 0:
        lost, gained, bound = gained, lost, -bound
    linear = -lost - gained + (2 * questions - lost + gained) * bound
    constant = -gained * bound * (1 - bound)
    nuisance = (math.sqrt(max(0.0, linear**2 - 8 * questions * constant)) - linear) / (4 * questions)
    return max(0.0, 2 * nuisance + bound * (1 - bound))


def score(lost: float, gained: float, questions: float, bound: float) -> float:
    """Tango's score: how many standard errors the difference lies above `bound`."""
    distance = lost - gained - questions * bound
    variance = questions * _variance(lost, gained, questions, bound)
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


@lru_cache(maxsize=64)
def _scores(questions: int, bound: float) -> np.ndarray:
    """The score of every outcome, [lost + gained, lost]; outcomes that cannot be have infinity."""
    both_D, lost_L = np.arange(questions + 1)[:, None], np.arange(questions + 1)[None, :]
    gained_DL = both_D - lost_L
    flip = bound < 0
    first_DL, second_DL = (gained_DL, lost_L + 0 * both_D) if flip else (lost_L + 0 * both_D, gained_DL)
    size = abs(bound)
    linear_DL = -both_D + (2 * questions - first_DL + second_DL) * size
    root_DL = np.sqrt(np.maximum(0.0, linear_DL**2 + 8 * questions * second_DL * size * (1 - size)))
    variance_DL = questions * np.maximum(0.0, (root_DL - linear_DL) / (2 * questions) + size * (1 - size))
    distance_DL = lost_L - gained_DL - questions * bound
    with np.errstate(divide="ignore", invalid="ignore"):
        score_DL = np.where(distance_DL == 0, 0.0, distance_DL / np.sqrt(variance_DL))
    return np.where(gained_DL >= 0, score_DL, np.inf)


@lru_cache(maxsize=4096)
def exact_tail(lost: int, gained: int, questions: int, bound: float, *, below: bool) -> float:
    """The largest probability, over the share gained, of a score at most (or at least) this one at the bound."""
    from scipy.special import bdtr, bdtrc
    from scipy.stats import binom

    score_DL = _scores(questions, bound)
    seen = score_DL[lost + gained, lost]
    both_D = np.arange(questions + 1)
    share_Q = np.linspace(max(0.0, -bound), (1 - bound) / 2, NUISANCES)  # gained; lost is the bound more
    changed_Q = np.clip(2 * share_Q + bound, 0.0, 1.0)
    of_them_Q = np.divide(share_Q + bound, changed_Q, out=np.full(NUISANCES, 0.5), where=changed_Q > 0)
    if below:
        most_D = (score_DL <= seen + 1e-9).sum(axis=1) - 1.0
        tail_DQ = np.where(most_D[:, None] >= 0, bdtr(np.maximum(most_D, 0)[:, None], both_D[:, None], of_them_Q), 0.0)
    else:
        least_D = (score_DL < seen - 1e-9).sum(axis=1)
        beyond_DQ = bdtrc(np.maximum(least_D - 1.0, 0)[:, None], both_D[:, None], of_them_Q)
        tail_DQ = np.where(least_D[:, None] == 0, 1.0, np.where((least_D > both_D)[:, None], 0.0, beyond_DQ))
    weight_DQ = binom.pmf(both_D[:, None], questions, changed_Q)
    return float(min(1.0, (weight_DQ * tail_DQ).sum(axis=0).max()))
