import json
import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from steps.core.steering import Steering

SOURCES = ("new/a", "new/b", "replay/g")


class Towards:
    """Gives every round the shares that were written down for it."""

    def __init__(self, *shares: dict[str, float]) -> None:
        self.shares = shares

    def steer(self, rounds: Sequence[Mapping[str, float]], current: Mapping[str, float]) -> dict[str, float]:
        return dict(self.shares[len(rounds) - 2])


def steering(
    *shares: dict[str, float], room: int = 10_000, update_steps: int = 10, num_steps: int = 25, per_block: int = 7
) -> Steering:
    """400 blocks for each of three sources; the plan gives a and g 700 loss tokens each, b none."""
    num_losses = {source: np.full(1500, per_block, dtype=np.int32) for source in SOURCES}
    tokens = {"new/a": 700, "replay/g": 700}
    return Steering(Towards(*shares), update_steps, num_steps, num_losses, dict.fromkeys(SOURCES, room), tokens)


def finish(made: Steering) -> Steering:
    for step in range(made.num_steps):
        if made.decides(step):
            made.decide(step, {"a": 2.0 - step / 100})
    return made


THIRD = {"new/a": 0.2, "new/b": 0.333, "replay/g": 0.467}
LAST = {"new/a": 0.013, "new/b": 0.9, "replay/g": 0.087}


def test_the_first_round_has_the_plan_s_shares_and_the_others_those_decided() -> None:
    made = finish(steering(THIRD, LAST))
    assert [decision["step"] for decision in made.decisions] == [0, 10, 20]
    assert made.drawn[0] == {"new/a": 280, "replay/g": 280}
    assert made.drawn[1] == {"new/a": 112, "new/b": 186, "replay/g": 262}  # of 560: 112.0, 186.5, 261.5
    assert sum(sum(drawn.values()) for drawn in made.drawn) == made.budget == 1400


@pytest.mark.parametrize("per_block", [1, 7, 63, 255])
def test_what_is_drawn_is_within_half_a_point_of_what_was_decided(per_block: int) -> None:
    made = finish(steering(THIRD, LAST, per_block=per_block))
    for decision, drawn in zip(made.decisions, made.drawn, strict=True):
        for source, share in decision["shares"].items():
            assert abs(drawn.get(source, 0) / sum(drawn.values()) - share) < 0.005


def test_every_loss_token_is_drawn_once_and_in_the_order_of_its_stream() -> None:
    made = finish(steering(THIRD, LAST))
    draws = np.concatenate(made.steps)
    for number, source in enumerate(SOURCES):
        own = [
            (block, place) for n, block, first, last in draws.tolist() if n == number for place in range(first, last)
        ]
        total = sum(drawn.get(source, 0) for drawn in made.drawn)
        assert own == [divmod(token, 7) for token in range(total)]


def test_the_steps_of_a_round_are_alike() -> None:
    made = finish(steering(THIRD, LAST))
    assert len(made.steps) == 25
    for start, end in ((0, 10), (10, 20), (20, 25)):
        sizes = [len(draws) for draws in made.steps[start:end]]
        assert max(sizes) - min(sizes) <= 1


def test_more_steps_than_blocks_still_have_a_token_each() -> None:
    made = finish(steering(THIRD, LAST, per_block=400))
    assert all((draws[:, 3] > draws[:, 2]).any() for draws in made.steps)
    assert sum(int((draws[:, 3] - draws[:, 2]).sum()) for draws in made.steps) == 1400


def test_decisions_read_back_from_json_make_the_same_draws() -> None:
    made = finish(steering(THIRD, LAST))
    again = steering()
    again.restore(json.loads(json.dumps(made.decisions)))
    assert again.decisions == made.decisions
    assert all(np.array_equal(one, other) for one, other in zip(made.steps, again.steps, strict=True))


def test_a_source_that_runs_dry_leaves_its_part_to_the_others(caplog: pytest.LogCaptureFixture) -> None:
    made = steering({"new/b": 1.0}, {"new/b": 1.0}, room=500)
    with caplog.at_level(logging.WARNING):
        finish(made)
    assert made.drawn[1:] == [{"new/a": 30, "new/b": 500, "replay/g": 30}, {"new/a": 140, "replay/g": 140}]
    assert "new/b: nothing is left" in caplog.text


def test_what_a_round_drew_is_told_at_its_end() -> None:
    made = steering(THIRD, LAST)
    told = [made.told(step) | made.decide(step, {"a": 2.0}) for step in (0, 10, 20)] + [made.told(25)]
    assert told[0] == {"train/share_new/a": 0.5, "train/share_new/b": 0.0, "train/share_replay/g": 0.5}
    assert told[1]["train/drawn_new/a"] == 0.5
    assert told[1]["train/share_new/b"] == pytest.approx(0.333)
    assert told[3]["train/drawn_new/b"] == pytest.approx(0.9)


def test_losses_are_needed() -> None:
    with pytest.raises(ValueError, match=r"decides by validation losses, found none; .* train\.validation_items"):
        steering().decide(0, {})


@pytest.mark.parametrize(
    "shares", [{"new/c": 1.0}, {"new/a": -0.1, "new/b": 1.1}, {"new/a": 0.0}, {"new/a": float("nan")}, {}]
)
def test_what_is_no_share_is_refused(shares: dict[str, float]) -> None:
    made = steering(shares)
    made.decide(0, {"a": 2.0})
    made.restore([])
    with pytest.raises(ValueError, match=r"the steered mixture wants shares .*; change plan\.mixture"):
        made.decide(10, {"a": 2.0})
