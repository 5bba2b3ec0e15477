import json

import numpy as np

from steps.core.curves import DOMAIN, GENERAL, Curve
from steps.core.domain_laws import Laws, Surface
from steps.core.domain_report import curves_of, refusal, rises, told, unfit

ROLES = {DOMAIN: "domain", GENERAL: "general"}


def laws(general: list[float] | None = None) -> Laws:
    falling = Surface(np.array([1, 0, 1, 0, 1, 1, 1, 1, 1.0]), 1.0, 1.0)  # 1 + 1 / (r + 1)
    surfaces = {DOMAIN: falling, GENERAL: Surface(np.array(general), 1.0, 1.0) if general else falling}
    return Laws(surfaces, {}, ROLES, {DOMAIN: 2.0, GENERAL: 1.6}, (0.2, 0.8), (10.0, 100.0), 1)


def test_the_reason_has_the_rise_the_allowance_and_how_far_the_law_is_read() -> None:
    why, sizes, far = told(laws(), 0.5, 1, 250.0, 0.05)
    assert why == (
        "Recommended share of new text 0.500 (replay 0.500): the least domain loss after 250 tokens; general loss "
        "changes by +4.2%, at most 5.0% being allowed."  # (1 + 1 / 1.5) / 1.6
    )
    assert sizes.startswith("One model size was run")
    assert far == "The pilots saw 100 tokens: the law is read 2.5 times as far."


def test_a_law_that_rises_with_its_own_text_is_not_to_be_trusted() -> None:
    bad = laws([1, 0, 1, 1, 1, 2, 0.1, 1, 0.1])
    places = rises(bad, 100.0)
    assert places["domain"] is None
    assert places["general"] is not None
    assert told(bad, 0.5, 1, 100.0, 0.05)[-1].startswith("Do not trust the general law: its loss rises with the share")


def test_a_refusal_says_what_is_predicted_and_what_to_run() -> None:
    message = refusal(laws(), 1, 100.0, 0.0)
    assert "predicted to change by -2.8% at 0.2 and by +14.6% at 0.8" in message  # 1.5556 and 1.8333 over 1.6
    assert "run smaller ratios, raise plan.mixture.tolerance" in message


def test_a_poor_fit_is_refused_and_told_from_one_that_no_such_law_could_be() -> None:
    tokens = np.array([10.0, 100.0])
    losses = [np.array([[1.0, 1.1]]), np.array([[1.0, 1.2]])]
    seen = [
        Curve(ratio, tokens, dict.fromkeys(ROLES, loss), dict.fromkeys(ROLES, 1.0))
        for ratio, loss in zip((0.2, 0.8), losses, strict=True)
    ]
    assert unfit(seen, {DOMAIN: 0.9, GENERAL: 0.9}, 0.8) is None
    assert "rose over the run at 0.2, 0.8 of new text" in str(unfit(seen, {DOMAIN: 0.9, GENERAL: 0.2}, 0.8))
    assert "rose" not in str(unfit(seen, {DOMAIN: 0.2, GENERAL: 0.9}, 0.8))


def test_the_plots_are_json() -> None:
    tokens = np.array([10.0, 100.0])
    seen = [
        Curve(ratio, tokens, dict.fromkeys(ROLES, np.ones((1, 2))), dict.fromkeys(ROLES, 2.0)) for ratio in (0.2, 0.8)
    ]
    panels = curves_of(laws(), [laws(), laws()], seen, [], 250.0, 0.5)
    json.dumps(panels, allow_nan=False)
    assert list(panels) == ["general-ratio", "domain-ratio", "general-tokens", "domain-tokens"]
    assert panels["domain-ratio"]["marks"] == [{"label": "recommended", "x": 0.5}]
    assert len(panels["domain-ratio"]["lines"]) == 2
