"""The statistics of paired comparisons: clustered t tests with a bootstrap beside them, Holm, power.

A change is `candidate - reference`, item by item: below zero is better. Items of one document are not independent, so
the standard error is clustered by document and t has `documents - 1` degrees of freedom; with one item per document it
is the ordinary paired t test.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

NORMAL = NormalDist()
CHUNK_DRAWS = 250  # rows of bootstrap weights held at once


@dataclass(frozen=True)
class Clusters:
    """Changes summed by document: `sums` [D] and `counts` [D], D documents."""

    sums: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, changes: Sequence[float], documents: Sequence[str]) -> "Clusters":
        """Group the changes of items by their documents, in the order of the documents' names."""
        assert len(changes) == len(documents), f"{len(changes)} changes, {len(documents)} documents"
        _, index_N = np.unique(np.asarray(documents, dtype=str), return_inverse=True)
        return cls(np.bincount(index_N, weights=np.asarray(changes, dtype=float)), np.bincount(index_N).astype(float))

    def mean_and_error(self, weight_RD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and clustered standard error of R resamples; weights count how often each document was drawn."""
        num_documents = len(self.sums)
        items_R = weight_RD @ self.counts
        mean_R = weight_RD @ self.sums / items_R
        residual_RD = self.sums - self.counts * mean_R[:, None]
        square_R = np.einsum("rd,rd,rd->r", weight_RD, residual_RD, residual_RD)
        return mean_R, np.sqrt(square_R * num_documents / (num_documents - 1)) / items_R


@dataclass(frozen=True)
class PairedChange:
    """The mean change over items, with what two ways of judging it need.

    `draws` [R] are the studentised means of the bootstrap over documents, sorted; empty when the changes do not vary.
    """

    mean: float
    error: float
    num_items: int
    num_documents: int
    draws: np.ndarray
    freedom: float = 0.0  # of Student's t; 0: one less than the documents

    @property
    def spread(self) -> float:
        """Standard deviation per item that explains the clustered standard error."""
        return self.error * math.sqrt(self.num_items)

    def spread_at(self, bound: float) -> float:
        """The spread if the true mean were `bound`: for losses the same everywhere."""
        return self.spread

    def power(self, margin: float, level: float) -> float:
        """Probability that an unchanged model passes non-inferiority with these items (normal approximation)."""
        return power(0.0, self.spread, margin, self.num_items, level) if self.error > 0 else 1.0

    @property
    def _freedom(self) -> float:
        return self.freedom or self.num_documents - 1

    def t_interval(self, level: float = 0.05) -> tuple[float, float]:
        """Two-sided interval by Student's t."""
        reach = student_quantile(1 - level / 2, self._freedom) * self.error
        return self.mean - reach, self.mean + reach

    def bootstrap_interval(self, level: float = 0.05) -> tuple[float, float]:
        """Two-sided interval by the bootstrap t; the t interval when there are no draws."""
        if not len(self.draws):
            return self.t_interval(level)
        low, high = np.quantile(self.draws, [level / 2, 1 - level / 2])
        return self.mean - float(high) * self.error, self.mean - float(low) * self.error

    def interval(self, level: float = 0.05) -> tuple[float, float]:
        """The wider of both intervals, end by end."""
        student, bootstrap = self.t_interval(level), self.bootstrap_interval(level)
        return min(student[0], bootstrap[0]), max(student[1], bootstrap[1])

    def p_below(self, bound: float) -> float:
        """p-value of "the true mean is at least `bound`": small shows that it lies below; the larger of both ways."""
        return self._p_value(self.mean - bound, below=True)

    def p_above(self, bound: float) -> float:
        """p-value of "the true mean is at most `bound`": small shows that it lies above; the larger of both ways."""
        return self._p_value(self.mean - bound, below=False)

    def _p_value(self, distance: float, below: bool) -> float:
        toward = distance if below else -distance
        if self.error == 0:
            return 0.0 if toward < 0 else 1.0
        student = student_cdf(toward / self.error, self._freedom)
        if not len(self.draws):
            return student
        edge = distance / self.error
        rank = int(np.searchsorted(self.draws, edge, side="right" if below else "left"))
        beyond = rank if below else len(self.draws) - rank
        if beyond == 0:  # smaller than draws can resolve: Holm over many tasks asks for levels that only t reaches
            return student
        return max(student, (1 + beyond) / (1 + len(self.draws)))


def paired_change(changes: Sequence[float], documents: Sequence[str], draws: int, seed: int) -> PairedChange:
    """The mean of paired changes, its clustered standard error and its bootstrap over documents.

    Args:
        changes: `candidate - reference`, one per item, in nats/token.
        documents: the document of each item.
        draws: resamples of the bootstrap; 0: none.
        seed: decides the resamples.

    Raises:
        ValueError: fewer than two documents, which have no spread.
    """
    return clustered_change(Clusters.of(changes, documents), draws, seed)


def clustered_change(clusters: Clusters, draws: int, seed: int) -> PairedChange:
    """The same of changes that are summed by document already.

    Raises:
        ValueError: fewer than two documents, which have no spread.
    """
    num_documents = len(clusters.sums)
    if num_documents < 2:
        raise ValueError(f"a standard error wants at least 2 documents, found {num_documents}; hold out more")
    mean_R, error_R = clusters.mean_and_error(np.ones((1, num_documents)))
    mean, error = float(mean_R[0]), float(error_R[0])
    if error <= 1e-12 * abs(mean):  # the rounding of equal changes is not a spread
        error = 0.0
    draw_R = np.empty(0)
    if error > 0 and draws:
        drawn_R, error_R = _resampled(clusters, draws, np.random.default_rng(seed))
        draw_R = _studentised(drawn_R - mean, error_R, error)
    return PairedChange(mean, error, int(clusters.counts.sum()), num_documents, draw_R)


def group_change(tasks: Sequence[Clusters], draws: int, seed: int) -> PairedChange:
    """The mean over tasks of their mean changes, each task counting the same, however many items it has.

    The variance is that of the tasks, summed, over their number squared, with Welch and Satterthwaite's degrees of
    freedom; the bootstrap resamples the documents of each task. Tasks share no documents.
    """
    assert tasks, "a group has tasks"
    number, chance = len(tasks), np.random.default_rng(seed)
    documents_T = np.array([len(clusters.sums) for clusters in tasks])
    found = [clusters.mean_and_error(np.ones((1, len(clusters.sums)))) for clusters in tasks]
    mean = float(np.mean([mean_R[0] for mean_R, _ in found]))
    square_T = np.array([error_R[0] ** 2 for _, error_R in found])
    error = math.sqrt(square_T.sum()) / number
    num_items = int(sum(clusters.counts.sum() for clusters in tasks))
    if error <= 1e-12 * abs(mean):
        return PairedChange(mean, 0.0, num_items, int(documents_T.sum()), np.empty(0))
    freedom = float(square_T.sum() ** 2 / (square_T**2 / (documents_T - 1)).sum())
    draw_R = np.empty(0)
    if draws:
        mean_R, square_R = np.zeros(draws), np.zeros(draws)
        for clusters in tasks:
            drawn_R, error_R = _resampled(clusters, draws, chance)
            mean_R += drawn_R / number
            square_R += (error_R / number) ** 2
        draw_R = _studentised(mean_R - mean, np.sqrt(square_R), error)
    return PairedChange(mean, error, num_items, int(documents_T.sum()), draw_R, freedom)


def _resampled(clusters: Clusters, draws: int, chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Means [R] and errors [R] of as many documents, drawn with replacement."""
    num_documents = len(clusters.sums)
    means, errors = [], []
    for start in range(0, draws, CHUNK_DRAWS):
        rows = min(CHUNK_DRAWS, draws - start)
        drawn_RD = chance.integers(num_documents, size=(rows, num_documents)) + num_documents * np.arange(rows)[:, None]
        weight_RD = np.bincount(drawn_RD.ravel(), minlength=rows * num_documents).reshape(rows, num_documents)
        mean_R, error_R = clusters.mean_and_error(weight_RD.astype(float))
        means.append(mean_R)
        errors.append(error_R)
    return np.concatenate(means), np.concatenate(errors)


def _studentised(distance_R: np.ndarray, error_R: np.ndarray, error: float) -> np.ndarray:
    """Sorted distances in standard errors; draws without a spread say nothing and are left out."""
    spread_R = error_R > 1e-9 * error
    return np.sort(distance_R[spread_R] / error_R[spread_R])


def student_cdf(value: float, freedom: float) -> float:
    """Probability that Student's t with `freedom` degrees of freedom is at most `value`."""
    from scipy.special import stdtr

    return float(stdtr(freedom, value))


def student_quantile(probability: float, freedom: float) -> float:
    """The value that Student's t with `freedom` degrees of freedom stays below with this probability."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def holm(p_values: Mapping[str, float], level: float) -> set[str]:
    """The names whose hypothesis falls by Holm: the k-th smallest of T p-values against level/(T - k + 1)."""
    fallen: set[str] = set()
    for k, (name, p_value) in enumerate(sorted(p_values.items(), key=lambda entry: (entry[1], entry[0]))):
        if p_value >= level / (len(p_values) - k):
            break
        fallen.add(name)
    return fallen


def power(mean: float, spread: float, margin: float, num_items: int, level: float = 0.05) -> float:
    """Probability that non-inferiority passes at a true mean change (normal approximation)."""
    return NORMAL.cdf((margin - mean) * math.sqrt(num_items) / spread - NORMAL.inv_cdf(1 - level))


def items_for_power(probability: float, spread: float, margin: float, level: float = 0.05) -> int:
    """Items with which an unchanged model passes non-inferiority with this probability."""
    return math.ceil(((NORMAL.inv_cdf(1 - level) + NORMAL.inv_cdf(probability)) * spread / margin) ** 2)


def items_to_decide(mean: float, spread: float, bound: float, level: float, margin: float) -> int | None:
    """Items in all that would decide at the observed mean and spread; none when within 0.1 margins of the bound."""
    distance = abs(bound - mean)
    if distance <= 0.1 * margin:
        return None
    return math.ceil((NORMAL.inv_cdf(1 - level) * spread / distance) ** 2)
