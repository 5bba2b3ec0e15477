"""The short form of `make chaos`: a refresh is killed, what it left is damaged, and nothing is lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos import checks, damage
from benchmarks.chaos.faults import cases, killed_with, kills
from benchmarks.chaos.world import MOMENTS, World

pytestmark = pytest.mark.timeout(900)
DAMAGES = (damage.flip, damage.records(2), damage.running_shape, damage.torn)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[checks.Undisturbed]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # the same weights, bit for bit, want the same number of threads
        yield checks.Undisturbed(tmp_path_factory.mktemp("chaos"))


@pytest.mark.pipeline
def test_killed_in_training_and_its_files_damaged_nothing_is_lost(
    undisturbed: checks.Undisturbed, tmp_path: Path
) -> None:
    world = World(tmp_path / "world", served=False)
    try:
        told = killed_with(world, lambda world: "; ".join(each(world) for each in DAMAGES), checkpoints=2)
        world.recover()
        world.quiet()
        assert checks.problems(world, undisturbed) == [], told
    finally:
        world.end()


@pytest.mark.pipeline
def test_the_checks_see_what_is_lost(undisturbed: checks.Undisturbed) -> None:
    undisturbed.upto(0)
    home = undisturbed.home
    verdict = next(event for event in home.ledger() if event["event"] == "verdict")
    verdict["outcome"]["rows"][0]["kept"] -= 1
    assert len(checks.conserved([verdict])) == 1
    home.record("attempt", attempt="lost", cause="landing", batches={})
    home.record("alias", alias="champion", before="1", after="7", why="nobody knows")
    registry, ledger = checks.Registry(home), home.ledger()
    assert checks.exactly_once(home, registry, "1", ledger) == ["attempt lost has no end in the ledger"]
    assert len(checks.champion_unharmed(home, registry, "1", ledger)) == 2
    weights = next((registry.folder("1") / checks.WEIGHTS).glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert "its weights are" in checks.champion_unharmed(home, registry, "1", ledger)[0]


def test_the_kills_are_fifty_and_reach_every_stage() -> None:
    struck = "".join(case.name for case in kills())
    assert sum(case.kills for case in kills()) >= 50
    assert [stage for stage in MOMENTS[1:] if f"flow@{stage}" not in struck] == []
    assert len({case.name for case in cases()}) == len(cases())
