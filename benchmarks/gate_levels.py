"""How often the gate's test is wrong on changes of known shapes, at the margin, at no change and at twice the margin.

`python -m benchmarks.gate_levels` draws the changes of about 100 items for each simulated gate, judges them as the gate
does, and prints a table. At the margin a pass is wrong, and may happen in `--level`. On real changes:
`tests/steps/test_gate_levels.py`. A few minutes on one core.
"""

import argparse
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from steps.core.statistics import PairedChange, paired_change

SPREAD, MARGIN = 0.15, 0.05  # nats/token
DOCUMENTS, ITEMS_OF_ONE = 100, 3
SKEW = 1.0  # sigma of the log-normal: a skewness of 6
Draw = Callable[[np.random.Generator, int], np.ndarray]


class Shape(NamedTuple):
    """Changes of a known shape, of mean 0 and spread `SPREAD`."""

    name: str
    draw: Draw
    items: int = 1  # of one document; they share half of their variance
    clustered: bool = True


def heavy(chance: np.random.Generator, number: int) -> np.ndarray:
    """Student's t with 3 degrees of freedom."""
    return chance.standard_t(3, number) / np.sqrt(3)


def skewed(chance: np.random.Generator, number: int) -> np.ndarray:
    """Log-normal: a few lose much."""
    mean, square = np.exp(SKEW**2 / 2), np.exp(SKEW**2)
    return (chance.lognormal(0, SKEW, number) - mean) / (mean * np.sqrt(square - 1))


def normal(chance: np.random.Generator, number: int) -> np.ndarray:
    """The usual bell."""
    return chance.standard_normal(number)


SHAPES = (
    Shape("normal", normal),
    Shape("heavy tails (t with 3 degrees)", heavy),
    Shape("a few items lose much (log-normal)", skewed),
    Shape("a few items gain much (log-normal)", lambda chance, number: -skewed(chance, number)),
    Shape("three items per document, clustered", normal, items=ITEMS_OF_ONE),
    Shape("the same, documents ignored (not done)", normal, items=ITEMS_OF_ONE, clustered=False),
)


def change(shape: Shape, shift: float, draws: int, seed: int) -> PairedChange:
    """What one gate sees of changes whose true mean is the shift."""
    chance = np.random.default_rng(seed)
    number = DOCUMENTS // shape.items
    own = shape.draw(chance, number * shape.items)
    if shape.items > 1:
        own = (own + np.repeat(shape.draw(chance, number), shape.items)) / np.sqrt(2)
    names = [str(k // shape.items if shape.clustered else k) for k in range(len(own))]
    return paired_change(list(shift + SPREAD * own), names, draws, seed)


def rates(shape: Shape, gates: int, draws: int, level: float) -> tuple[float, float, float, float]:
    """The shares of gates that pass at the margin by t alone and by the wider of both, pass at 0, fail at 2 margins."""
    counts = np.zeros(4)
    for seed in range(gates):
        at, unchanged, twice = (change(shape, shift, draws, seed) for shift in (MARGIN, 0.0, 2 * MARGIN))
        alone = PairedChange(at.mean, at.error, at.num_items, at.num_documents, np.empty(0))
        found = (alone.p_below(MARGIN), at.p_below(MARGIN), unchanged.p_below(MARGIN), twice.p_above(MARGIN))
        counts += [p_value < level for p_value in found]
    passed, wider, power, failed = (float(count) / gates for count in counts)
    return passed, wider, power, failed


def suites(gates: int) -> None:
    """Print how often verdicts over three required suites pass and fail, where the true changes are known."""
    from tests.steps.simulated_gates import rate
    from tests.steps.test_suite_levels import MARGIN, SUITES, verdicts

    cases = {
        **{f"{suite} at its margin, the others 10 points better": {suite: MARGIN} for suite in SUITES},
        "all at their margins": dict.fromkeys(SUITES, MARGIN),
        "nothing lost on any": dict.fromkeys(SUITES, 0.0),
        "all 3 points better": dict.fromkeys(SUITES, -3.0),
        "one at twice its margin, nothing lost on the others": {**dict.fromkeys(SUITES, 0.0), SUITES[-1]: 2 * MARGIN},
    }
    print("| true change | questions a suite | passes | fails |")
    print(f"|{'---|' * 4}")
    for name, harm in cases.items():
        for questions in (150, 600):
            found = verdicts({suite: harm.get(suite, -10.0) for suite in SUITES}, gates, questions)
            print(f"| {name} | {questions} | {rate(found, 'pass'):.2f} | {rate(found, 'fail'):.2f} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gates", type=int, default=4000, help="of each shape")
    parser.add_argument("--draws", type=int, default=500, help="resamples of the bootstrap")
    parser.add_argument("--level", type=float, default=0.05)
    parser.add_argument("--suites", action="store_true", help="answers to suites of questions, at the level 0.05")
    options = parser.parse_args()
    if options.suites:
        suites(options.gates)
        return
    print("| changes | passes at m, t alone | passes at m, judged by the wider | passes unchanged | fails at 2 m |")
    print(f"|{'---|' * 5}")
    for shape in SHAPES:
        alone, wider, power, failed = rates(shape, options.gates, options.draws, options.level)
        print(f"| {shape.name} | {alone:.3f} | {wider:.3f} | {power:.2f} | {failed:.2f} |", flush=True)


if __name__ == "__main__":
    main()
