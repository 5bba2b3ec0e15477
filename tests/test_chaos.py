"""The short form of `make chaos`: a refresh is killed, what it left is damaged, and nothing is lost."""

import random
from pathlib import Path

import pytest

from benchmarks.chaos import checks
from benchmarks.chaos.faults import cases, kills
from benchmarks.chaos.world import MOMENTS, World

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(600)]
SHORT = ("damaged-checkpoint-flipped", "damaged-records-shape")  # each with a kill, and two damaged files


def test_a_killed_refresh_with_damaged_files_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the same weights, bit for bit, want the same number of threads
    chosen = [case for case in cases() if case.name in SHORT]
    undisturbed = checks.Undisturbed(tmp_path)
    world = World(tmp_path / "world", served=False)
    try:
        world.open()
        for case in chosen:
            told = case.act(world, random.Random(20))
            world.recover()
            world.quiet()
            assert checks.problems(world, undisturbed) == [], told
    finally:
        world.end()


def test_the_checks_see_what_is_lost(tmp_path: Path) -> None:
    undisturbed = checks.Undisturbed(tmp_path)
    undisturbed.upto(0)
    home = undisturbed.home
    verdict = next(event for event in home.ledger() if event["event"] == "verdict")
    verdict["outcome"]["rows"][0]["kept"] -= 1
    assert len(checks.conserved([verdict])) == 1
    home.record("attempt", attempt="lost", cause="landing", batches={})
    home.record("alias", alias="champion", before="1", after="7", why="nobody knows")
    registry = checks.Registry(home)
    ledger = home.ledger()
    assert [line.partition(" has ")[2] for line in checks.exactly_once(home, registry, "1", ledger)] == [
        "no end in the ledger"
    ]
    assert len(checks.champion_unharmed(home, registry, "1", ledger)) == 2
    weights = next((registry.folder("1") / checks.WEIGHTS).glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert "its weights are" in checks.champion_unharmed(home, registry, "1", ledger)[0]


def test_the_kills_are_fifty_and_reach_every_stage() -> None:
    struck = [case.name for case in kills()]
    assert sum(case.kills for case in kills()) >= 50
    assert all(f"flow@{stage}" in "".join(struck) for stage in MOMENTS[1:])
    assert len({case.name for case in cases()}) == len(cases())
