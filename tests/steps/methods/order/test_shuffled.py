import numpy as np
import pytest

from steps.methods.order.interleaved import Interleaved
from steps.methods.order.shuffled import Shuffled

COUNTS = {"new/a": 30, "new/b": 12, "replay/g": 14, "replay/h": 4}
GROUPS = [4] * 15


@pytest.mark.parametrize("seed", range(4))
def test_chance_mixes_new_tasks_and_leaves_replay_in_its_places(seed: int) -> None:
    order = Shuffled().sources(COUNTS, GROUPS, seed)
    turns = Interleaved().sources(COUNTS, GROUPS, seed)
    assert {source: order.count(source) for source in COUNTS} == COUNTS
    replayed = np.array([source.startswith("replay/") for source in order]).reshape(-1, 4).sum(axis=1)
    assert np.abs(replayed - 4 * 18 / 60).max() < 2
    assert np.abs(np.cumsum(replayed) - 4 * 18 / 60 * np.arange(1, 16)).max() < 2
    assert order != turns
    assert order == Shuffled().sources(COUNTS, GROUPS, seed)
    assert order != Shuffled().sources(COUNTS, GROUPS, seed + 1)


def test_one_new_task_is_interleaved() -> None:
    counts = {"new/a": 30, "replay/g": 14, "replay/h": 4}
    assert Shuffled().sources(counts, [4] * 12, 0) == Interleaved().sources(counts, [4] * 12, 0)


def test_documents_are_shuffled_as_ever() -> None:
    lengths = np.arange(1, 9)
    assert np.array_equal(Shuffled().documents(lengths, 9, 1, 3), Interleaved().documents(lengths, 9, 1, 3))
