import json
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from steps.core.domain_laws import Surface
from steps.methods.mixture.domain_law import DomainLaw
from steps.methods.mixture.fixed import Fixed
from tests.steps.methods.mixture.pilots_of import FIT, run, runs, supply

ROLES = {"law": "train", "web": "replay-only"}
OWN = Surface(np.array([2.0, 0, 1, 0.08, 0.35, 0.8, 0.4, 0.5, 0.2]), 1.0, 500_000.0)
RATIOS = (0.2, 0.35, 0.5, 0.65, 0.8)
METHOD = DomainLaw(ratios=RATIOS, held_out=(0.5,), tolerance=0.02, draws=3, fit=FIT)
START = 2.5


def world(ratio: float, tokens: np.ndarray) -> dict[str, np.ndarray]:
    after = np.maximum(tokens, 1)
    law, web = OWN.at(1, after, ratio), OWN.at(1, after, 1 - ratio)
    return {"law": np.where(tokens == 0, 3.2, law), "web": np.where(tokens == 0, START, web)}


GIVEN = supply(2_000_000, new={"law": 100_000}, replay={"web": 900})
LEARNT = METHOD.learn(GIVEN, runs(METHOD, GIVEN, world), ROLES, seed=0)


def true_ratio(tokens: float, tolerance: float) -> float:
    ratios = np.linspace(0.2, 0.8, 6001)
    return float(ratios[OWN.at(1, tokens, 1 - ratios) <= (1 + tolerance) * START].max())


def test_the_largest_share_within_the_tolerance_is_recommended() -> None:
    assert LEARNT["ratio"] == pytest.approx(true_ratio(2e6, 0.02), abs=1e-3)
    assert 0.2 < LEARNT["ratio"] < 0.8
    assert LEARNT["recommended"] == pytest.approx({"new/law": LEARNT["ratio"], "replay/web": 1 - LEARNT["ratio"]})
    assert LEARNT["checks"]["monotone"] == {"general": True, "domain": True}


def test_the_full_run_and_the_held_out_ratio_are_predicted() -> None:
    assert LEARNT["predicted"]["law"] == pytest.approx(float(OWN.at(1, 2e6, LEARNT["ratio"])), rel=1e-3)
    assert METHOD.predict(LEARNT, 0.3, 1e6)["web"] == pytest.approx(float(OWN.at(1, 1e6, 0.7)), rel=1e-3)
    assert max(LEARNT["checks"]["change_error"].values()) < 0.01


def test_the_fit_is_json_and_decides_as_it_recommends() -> None:
    content = json.loads(json.dumps(LEARNT, allow_nan=False))
    given = supply(2_000_000, content, new={"law": 100_000}, replay={"web": 900})
    decided = METHOD.decide(given, seed=0)
    assert decided.predicted == pytest.approx(LEARNT["predicted"])
    assert decided.told == tuple(LEARNT["told"])
    assert decided.stages == Fixed(replay_share=1 - LEARNT["ratio"]).decide(given, seed=0).stages


def test_a_larger_tolerance_takes_more_new_text_up_to_what_was_tested() -> None:
    given = supply(2_000_000, LEARNT, new={"law": 100_000}, replay={"web": 900})
    shares = [
        METHOD.model_copy(update={"tolerance": part}).decide(given, 0).stages[0].replay for part in (0.0, 0.02, 9)
    ]
    assert shares == pytest.approx([1 - true_ratio(2e6, 0.0), 1 - true_ratio(2e6, 0.02), 0.2], abs=1e-3)


def test_little_new_text_ends_the_run_and_asks_for_more_replay() -> None:
    """With 5,000 tokens of new text, read four times, a run ends after 20,000 / r tokens."""
    limited = METHOD.model_copy(update={"aim": "limited", "tolerance": None})
    given = supply(2_000_000, LEARNT, new={"law": 5000}, replay={"web": 900})
    ratios = np.linspace(0.2, 0.8, 6001)
    best = ratios[np.argmin(OWN.at(1, np.minimum(2e6, 2e4 / ratios), ratios))]
    decided = limited.decide(given, seed=0)
    assert 0.2 < best < 0.8
    assert decided.stages[0].replay == pytest.approx(1 - best, abs=1e-3)
    assert f"after {2e4 / best:,.0f}"[:10] in decided.told[0]
    assert limited.model_copy(update={"domain_tokens": 10**9}).decide(given, 0).stages[0].replay == pytest.approx(0.2)


def test_the_same_seed_gives_the_same_fit() -> None:
    assert json.dumps(METHOD.learn(GIVEN, runs(METHOD, GIVEN, world), ROLES, seed=0)) == json.dumps(LEARNT)


def test_a_tolerance_that_no_ratio_keeps_is_refused_with_what_to_run() -> None:
    def worse(ratio: float, tokens: np.ndarray) -> dict[str, np.ndarray]:
        seen = world(ratio, tokens)
        return {"law": seen["law"], "web": np.where(tokens == 0, 2.0, seen["web"])}

    with pytest.raises(ValueError, match=r"keeps general loss within 2.0% of its start .* run smaller ratios"):
        METHOD.learn(GIVEN, runs(METHOD, GIVEN, worse), ROLES, seed=0)


def test_losses_that_no_law_fits_are_refused() -> None:
    def noise(ratio: float, tokens: np.ndarray) -> dict[str, np.ndarray]:
        random = np.random.default_rng(int(100 * ratio))
        return {"law": random.uniform(2, 3, len(tokens)), "web": random.uniform(2, 3, len(tokens))}

    with pytest.raises(ValueError, match=r"domain-law: wanted R2 of at least 0.8, found .*'domain'"):
        METHOD.learn(GIVEN, runs(METHOD, GIVEN, noise), ROLES, seed=0)


def test_three_ratios_cannot_carry_a_law() -> None:
    pilots = [run(trial, world) for trial in METHOD.pilots(GIVEN, seed=0) if trial.name[:7] != "new-0.2"]
    with pytest.raises(ValueError, match=r"at least 4 fitted ratios, found 3"):
        METHOD.learn(GIVEN, pilots, ROLES, seed=0)


def test_without_a_fit_it_does_not_decide() -> None:
    with pytest.raises(ValueError, match="domain-law needs a fit; run `perennial pilot RECIPE`"):
        DomainLaw().decide(GIVEN, seed=0)


@pytest.mark.parametrize("knobs", [{"tolerance": None}, {"ratios": (0.5,)}, {"huber_delta": 0}, {"starts": 0}])
def test_bad_knobs_are_refused(knobs: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DomainLaw(**knobs)
