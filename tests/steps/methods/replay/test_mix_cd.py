from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from pydantic import ValidationError

from steps.methods.replay import Entry, Evidence, Memory
from steps.methods.replay.mix_cd import MixCd
from tests.steps.methods.replay.entries import NOTHING_KNOWN, asked_rise, entries, names, run, tasks_of

EIGHT = Memory(tuple(entries(0, 8)))  # held; the parent's loss of t00k is k


def known(rises: Mapping[str, float], asked: list[Sequence[str]] | None = None) -> Evidence:
    """The parent's loss of a document is the number in its key; some rise."""

    def losses(keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        if asked is not None:
            asked.append(keys)
        before_N = np.array([float(key[1:]) for key in keys])
        return before_N, before_N + np.array([rises.get(key, 0.0) for key in keys])

    return Evidence(rise=asked_rise, losses=losses)


def update(memory: Memory, offered: Sequence[Entry], evidence: Evidence, seed: int = 0, **knobs: float) -> Memory:
    return MixCd.model_validate(knobs).update(memory, [], offered, evidence, seed)


def whys(memory: Memory) -> Counter[str]:
    return Counter(entry.why for entry in memory.entries)


def test_bins_are_drawn_in_proportion_to_their_rate_of_damage() -> None:
    evidence = known({"t000": 0.5, "t001": 0.5, "t002": 0.5, "t003": 0.05})
    after = update(EIGHT, [], evidence, capacity=3, uniform_share=0.0)
    assert whys(after) == {"bin topics q1": 2, "bin topics q2": 1}  # rates 1 and 1/2
    assert after.told["bin topics q1"] == pytest.approx(
        {"documents": 2, "probed": 2, "damaged": 2, "rate": 1.0, "share": 2 / 3, "places": 2}
    )
    assert after.told["bin topics q2"]["rate"] == 0.5


def test_the_uniform_part_is_spread_equally_over_the_bins() -> None:
    after = update(EIGHT, [], known({"t000": 1.0}), capacity=4, uniform_share=0.2)
    shares = [after.told[f"bin topics q{quartile}"]["share"] for quartile in (1, 2, 3, 4)]
    assert shares == pytest.approx([0.85, 0.05, 0.05, 0.05])


def test_what_the_parent_did_not_know_cannot_be_damaged() -> None:
    after = update(EIGHT, [], known(dict.fromkeys(names(entries(4, 8)), 9.0)), capacity=4)
    assert [numbers["damaged"] for numbers in after.told.values()] == [0, 0, 0, 0]


def test_a_loss_that_rose_by_no_more_than_the_threshold_is_no_damage() -> None:
    after = [update(EIGHT, [], known({"t000": 0.25}), capacity=4, rise_nats=rise) for rise in (0.25, 0.2)]
    assert [memory.told["bin topics q1"]["damaged"] for memory in after] == [0, 1]


def test_where_nothing_was_damaged_every_bin_has_the_same_room_as_with_a_uniform_share_of_one() -> None:
    unharmed = update(EIGHT, [], known({}), capacity=4)
    assert whys(unharmed) == {f"bin topics q{quartile}": 1 for quartile in (1, 2, 3, 4)}
    assert update(EIGHT, [], known({"t000": 1.0}), capacity=4, uniform_share=1.0).entries == unharmed.entries


def test_new_documents_are_ranked_among_themselves_and_share_the_room_of_the_old_ones_like_them() -> None:
    after = update(EIGHT, entries(100, 108, refresh=2), known({"t000": 1.0}), capacity=4, uniform_share=0.0)
    assert after.told["bin topics q1"]["documents"] == 4
    assert after.told["bin topics q1"]["probed"] == 2
    assert sorted(after.keys) == ["t000", "t001", "t100", "t101"]


def test_a_document_keeps_its_bin_though_the_parent_changes() -> None:
    kept = tuple(entry._replace(why="bin topics q4") for entry in EIGHT.entries[:2])
    after = update(Memory((*kept, *EIGHT.entries[2:])), [], known({"t000": 1.0}), capacity=8)
    assert [entry.why for entry in after.entries[:3]] == ["bin topics q4", "bin topics q4", "bin topics q2"]
    assert after.told["bin topics q4"] == pytest.approx(
        {"documents": 4, "probed": 4, "damaged": 1, "rate": 0.25, "share": 0.95 + 0.05 / 3, "places": 4}
    )


def test_tasks_that_came_one_after_the_other_and_are_damaged_alike_have_the_same_room() -> None:
    memory = Memory()
    for number, task in enumerate("abcdefgh"):
        offered = entries(20 * number, 20 * number + 20, task, number + 1)
        memory = update(
            memory, offered, known({f"{task}{k:03d}": 1.0 for task in "abcdefgh" for k in range(160)}), capacity=40
        )
    assert tasks_of(memory) == dict.fromkeys("abcdefgh", 5)  # bins given anew would cut what is left in halves


def test_text_that_was_just_trained_on_tells_nothing_of_damage() -> None:
    after = update(Memory(), entries(0, 8), known({"t000": 1.0}), capacity=4)
    assert {(numbers["probed"], numbers["rate"]) for numbers in after.told.values()} == {(0, 0)}


def test_a_task_that_was_not_probed_takes_the_mean_rate_of_the_others() -> None:
    general = entries(0, 8, "general", general=True)
    after = update(Memory(), [*general, *entries(0, 8)], known({"g000": 1.0, "g001": 1.0}), capacity=4)
    assert after.told["bin topics q1"]["rate"] == after.told["bin general q1"]["rate"] == 1.0


def test_the_probe_is_bounded_and_the_rest_has_the_mean_rate_of_its_task() -> None:
    asked: list[Sequence[str]] = []
    memory = Memory(tuple(entries(0, 100)))
    evidence = known(dict.fromkeys(names(entries(0, 50)), 1.0), asked)  # all that the parent knew
    after = update(memory, entries(100, 200, refresh=2), evidence, capacity=50, probe_documents=40)
    assert [len(keys) for keys in asked] == [40]
    assert sum(key < "t100" for key in asked[0]) == 30
    rates = [after.told[f"bin topics q{quartile}"]["rate"] for quartile in (1, 2, 3, 4)]
    assert after.told["bin topics not probed"]["rate"] == pytest.approx(sum(rates) / 4)
    assert len(after.entries) == 50


def test_every_update_probes_anew() -> None:
    asked: list[Sequence[str]] = []
    run(MixCd(capacity=100, probe_documents=10), [entries(0, 60), [], []], evidence=known({}, asked))
    assert len({frozenset(keys) for keys in asked}) == 3


def test_nothing_is_asked_when_there_is_nothing_to_hold() -> None:
    assert run(MixCd(capacity=3), [[]], evidence=NOTHING_KNOWN).entries == ()


def test_the_same_seed_draws_the_same_and_another_seed_another() -> None:
    draws = [run(MixCd(capacity=10), [entries(0, 50)], seed, known({})).keys for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize(
    "knobs", [{"capacity": 0}, {"probe_documents": 0}, {"rise_nats": -0.1}, {"uniform_share": 1.5}]
)
def test_bad_knobs_are_refused(knobs: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        MixCd.model_validate({"capacity": 5, **knobs})
