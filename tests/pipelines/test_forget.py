"""Documents are forgotten by a whole workspace: nothing of them is left in any file, and the line goes on."""

import gzip
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from pipelines.edge.forget import work
from pipelines.edge.forget.tombstones import read_tombstones
from pipelines.edge.home import Home
from pipelines.edge.operations import reproduce, status
from pipelines.edge.registry import Registry
from steps.core.artifacts import TaskFacts
from steps.core.holdouts import order_of
from steps.split import side_of
from tests.workspaces import land_rows, paragraphs, rows, run, tiny, workspace

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(900)]
MARK = "Zqxmarker"
MANY = tiny(plan={"budget_tokens": 12000, "mixture": {"method": "fixed", "replay_share": 0.25, "new": {"types": 1.0}}})
EASY = tiny(gate={"superiority": "not-required", "margin_nats": 1.0})
FATES = (*(f"trained-{number}" for number in range(6)), "gate", "validation", "dropped", "quarantined")


class World(NamedTuple):
    """A workspace after two accepted refreshes, its marked documents, and what forgetting them gave."""

    home: Home
    keys: dict[str, str]
    held_before: int
    shown: int
    planned: work.Plan
    done: work.Done


def key_for(fate: str) -> str:
    """A key that falls on a side; on the gate's the first of all, so that samples begin with its text."""
    side = fate if fate in {"gate", "validation"} else None
    names = [f"{MARK}/{fate}/{number}" for number in range(3000)]
    fitting = [name for name in names if side_of(tiny().split, TaskFacts(name="types"), name) == side]
    return min(fitting, key=order_of)


def marked(fate: str, number: int) -> dict[str, Any]:
    text = paragraphs()[300 + 130 + number]
    words = text.split()
    said = " ".join(f"{MARK} {word}" if place % 9 == 0 else word for place, word in enumerate(words))
    row = {"key": key_for(fate), "text": f"{MARK} short" if fate == "dropped" else said}
    return {**row, "licence": "Proprietary"} if fate == "quarantined" else row


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    home = workspace(tmp_path_factory.mktemp("forget"), documents=60)
    tasks = yaml.safe_load((home.root / "data/tasks.yaml").read_text())
    tasks["tasks"]["types"]["licences"] = ["PSF-2.0"]
    (home.root / "data/tasks.yaml").write_text(yaml.safe_dump(tasks, sort_keys=False))
    documents = {fate: marked(fate, number) for number, fate in enumerate(FATES)}
    land_rows(home, "types", [*rows("types", 60, 3), *documents.values()])
    outcomes = [run(home, MANY)]  # which reads some of the marked ones
    land_rows(home, "statements", rows("statements", 60, 60))
    outcomes.append(run(home, EASY))
    assert [outcome.kind for outcome in outcomes] == ["accepted", "accepted"]
    (home.hidden / "outbox" / "types.jsonl").unlink()  # the tests' own
    keys = {fate: row["key"] for fate, row in documents.items()}
    check_fates(home, keys)
    shown = sum(MARK in file.read_text() for file in [home.ledger_file, *home.hidden.rglob("report.md")])
    with home.lock():
        planned = work.plan(home, list(keys.values()), [])
        return World(
            home, keys, len(where(home.root)), shown, planned, work.forget(home, planned, "asked by its author")
        )


def check_fates(home: Home, keys: dict[str, str]) -> None:
    """Every marked document met its fate; old stages are looked up in DVC's cache."""
    files = (path for path in (home.root / ".dvc/cache").rglob("*") if path.is_file())
    objects = [raw.decode() for path in files if b"\0" not in (raw := path.read_bytes())]
    lines = [json.loads(line) for text in objects for line in text.splitlines() if line[:1] == "{" and line[-1:] == "}"]
    assert any(row.get("key", "").startswith(f"{MARK}/trained") and "times" in row for row in lines)
    assert any(row.get("key") == keys["dropped"] and row.get("reason") for row in lines)
    assert any(row.get("reason", "").startswith("contract") and MARK in row["excerpt"] for row in lines)
    held = {row["key"]: row["part"] for row in lines if "part" in row}
    assert (held[keys["gate"]], held[keys["validation"]]) == ("gate", "validation")


def where(root: Path) -> list[str]:
    """The files in which the marker can be read, whatever they are packed in; names of files too."""
    return sorted(
        {path.relative_to(root).as_posix() for path in root.rglob("*") if any(shows(part) for part in parts(path))}
    )


def shows(raw: bytes) -> bool:
    return MARK.casefold().encode() in raw.lower()


def parts(path: Path) -> Iterator[bytes]:
    yield path.name.encode()
    if not path.is_file():
        return
    raw = path.read_bytes()
    yield raw
    if raw[:2] == b"\x1f\x8b":
        yield gzip.decompress(raw)
    if path.suffix == ".db":
        with closing(sqlite3.connect(path)) as database:
            yield "\n".join(database.iterdump()).encode()


def trained(world: World) -> list[str]:
    return [each.version for each in world.done.versions if each.how == "trained"]


def test_nothing_is_left_of_them_in_any_file(world: World) -> None:
    assert world.held_before > 20
    assert world.shown, "the ledger showed a sample that begins with a gate item"
    assert where(world.home.root) == []
    assert not (world.home.hidden / "forget.json").exists()


def test_it_says_which_versions_trained_on_them(world: World) -> None:
    assert trained(world)
    assert {each.version for each in world.done.versions} == {"1", "2"}
    assert any("weights are another matter" in note for note in world.done.notes)
    registry = Registry(world.home)
    for each in world.done.versions:
        assert registry.get(each.version).tags["perennial.forgotten"] == each.how
        assert len((registry.folder(each.version) / "forgotten.jsonl").read_text().splitlines()) == len(FATES)


def test_tombstones_and_the_ledger_name_them_by_hashes_alone(world: World) -> None:
    stones = read_tombstones(world.home.root)
    assert len(stones) == len(FATES)
    assert all(stone.key and stone.content and stone.why == "asked by its author" for stone in stones)
    events = [event for event in world.home.ledger() if event["event"] == "forget"]
    assert {row["key"] for row in events[-1]["documents"]} == {stone.key for stone in stones}


def test_versions_list_segments_that_are_there_under_their_digests(world: World) -> None:
    from steps.core.state import digest_of_folder

    registry = Registry(world.home)
    listed = set()
    for number in ("1", "2"):
        version = registry.version(number)
        for state in (version.buffer, version.index, version.holdout):
            for segment in state.segments:
                assert digest_of_folder(world.home.root / segment.path) == segment.digest
                listed.add(Path(segment.path).name)
    assert {path.name for path in (world.home.root / "data/state").iterdir()} == listed


def test_a_version_that_trained_on_them_is_not_reproduced(world: World) -> None:
    for version in trained(world):
        with pytest.raises(ValueError, match=f"version {version} trained on documents that were forgotten"):
            reproduce(world.home, version)
    for each in world.done.versions:
        if each.how != "trained":
            assert f"forgotten since ({each.how})" in reproduce(world.home, each.version).note


def test_the_line_goes_on_and_dvc_has_all_that_it_names(world: World) -> None:
    from dvc.repo import Repo

    home = world.home
    assert status(home)["champion"] == "2"
    again = [{"key": world.keys["gate"], "text": "another text"}, {"key": "new", "text": f"{MARK} short"}]
    land_rows(home, "types", [*rows("types", 63, 60), *again])
    (home.hidden / "outbox" / "types.jsonl").unlink()
    outcome = run(home, EASY)
    assert outcome.kind == "accepted", outcome.reasons
    assert where(home.root) == [], "it did not land again"
    assert reproduce(home, "3").identical
    with closing(Repo(str(home.root))) as repo:
        assert repo.status() == {}
    for pointer in [home.root / "dvc.lock", *home.root.glob("data/**/*.dvc")]:
        for oid in named(yaml.safe_load(pointer.read_text())):
            place = home.root / ".perennial/dvc-remote/files/md5" / oid[:2] / oid[2:]
            assert place.exists(), f"{pointer.name}: {oid}"
            for row in json.loads(place.read_bytes()) if oid.endswith(".dir") else []:
                assert (place.parents[1] / row["md5"][:2] / row["md5"][2:]).exists(), row


def named(pointer: dict[str, Any]) -> Iterator[str]:
    """The objects that outputs are."""
    stages = pointer["stages"].values() if "stages" in pointer else [pointer]
    yield from (out["md5"] for stage in stages for out in stage["outs"])
