import json

import numpy as np

from steps.core.critical import choose, draw_critical, fit_critical
from steps.core.critical_report import curves_of, doubts, refusal, told, trusted
from tests.steps.core.pilot_worlds import ROLES, UNIT, curves
from tests.steps.core.test_critical import LAMBDA, RATIOS, with_points


def test_the_reason_names_every_ratio_and_what_bounds_the_choice() -> None:
    law = with_points([0, 50.0, np.inf, np.inf], RATIOS[:4])
    choice = choose(law, 200.0, 0.05)
    kinds, why, far = told(law, choice, 200.0, 0.05)
    assert kinds == (
        "General loss by share of new text: 0.2 falls from the start, 0.3 turns after 50 tokens, 0.4 rises throughout, "
        "0.5 rises throughout."
    )
    assert why == (
        "Recommended share of new text 0.300 (replay 0.700): 0.3 and all smaller ratios have turned by 200 tokens, the "
        "next one has not; too few turning points for a law between them."
    )
    assert far == "The pilots saw 100 tokens; losses at 200 go on from their slopes, 2.0 times as far."


def test_a_refusal_says_what_was_seen_and_what_to_run() -> None:
    rising = with_points([np.inf] * 4, RATIOS[:4])
    message = refusal(rising, choose(rising, 100.0, 0.05), 100.0, 0.05)
    assert "at every ratio general loss still rises within the 100 tokens seen" in message
    assert "from 2.5000 to between 2.5000 and 2.5030 nats per token" in message
    assert "longer pilots (plan.mixture.pilot_tokens), smaller ratios, or use `fixed`" in message
    above = with_points([0, 0, 0, 0], RATIOS[:4], general=2.6)
    assert "within epsilon 0.05 of its start" in refusal(above, choose(above, 100.0, 0.05), 100.0, 0.05)


def test_far_from_turning_points_or_pilots_or_against_the_draws_nothing_is_trusted() -> None:
    law = fit_critical(curves(RATIOS), ROLES, LAMBDA)
    near, below, far = 0.6 * UNIT, 0.01 * UNIT, 5 * UNIT
    agreed, split = np.full(10, 0.5), np.array([0.5] * 5 + [np.nan] * 5)
    assert trusted(law, choose(law, near, 0.05), near, agreed)
    assert not trusted(law, choose(law, near, 0.05), near, split)
    assert not trusted(law, choose(law, below, 0.05), below, agreed)
    assert not trusted(law, choose(law, far, 0.05), far, agreed)
    assert doubts(agreed) == []
    assert doubts(split) == ["In 5 of 10 draws of the pilots no ratio was feasible."]


def test_the_plots_are_json_with_lines_and_points_of_equal_labels() -> None:
    seen, unseen = curves(RATIOS, noise=1e-4), curves([0.45])
    law = fit_critical(seen, ROLES, LAMBDA)
    drawn = draw_critical(seen, law, LAMBDA, 10, seed=0)
    panels = curves_of(law, drawn, seen, unseen, choose(law, 2 * UNIT, 0.05), 2 * UNIT)
    json.dumps(panels, allow_nan=False)
    assert list(panels) == ["general-ratio", "domain-ratio", "general-tokens", "domain-tokens", "critical"]
    assert panels["general-ratio"]["lines"][0]["label"] == panels["general-ratio"]["points"][0]["label"] == "general"
    assert panels["general-ratio"]["points"][1]["held_out"]
    assert len(panels["domain-tokens"]["lines"]) == len(RATIOS)
