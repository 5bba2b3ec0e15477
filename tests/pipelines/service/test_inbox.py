import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest

from pipelines.edge.home import Home
from pipelines.edge.landing import land
from pipelines.service import inbox as inbox_module
from pipelines.service.inbox import ARRIVING, LOCK, MEMORY, Inboxes, read_memory
from steps.core.shards import digest_of_file
from tests.pipelines.service.watched import landed, put, scan, until, workspace

SCAN = """
import sys
from pathlib import Path
from pipelines.edge.home import Home
from pipelines.service.inbox import Inboxes
inboxes = Inboxes(Home(Path(sys.argv[1])))
while True:
    inboxes.sweep()
    if sys.argv[2] == "once":
        break
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return workspace(tmp_path)


def scanning(home: Home, how: str) -> subprocess.Popen[bytes]:
    with (home.root / "child.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", SCAN, str(home.root), how], stdout=log, stderr=log)


def test_files_that_lie_together_land_as_one_batch_under_their_paths(home: Home) -> None:
    put(home.root, "inbox/a.txt", "one")
    put(home.root, "inbox/sub/deep/b.txt", "two")
    found = scan(home)
    assert landed(home) == [{"a.txt": "one", "sub/deep/b.txt": "two"}]
    assert (bool(found.batch), found.num_files, found.num_bytes, found.news, found.problem) == (True, 2, 6, True, "")


def test_a_file_lands_once_and_a_changed_one_again_alone(home: Home) -> None:
    put(home.root, "inbox/a.txt", "one")
    put(home.root, "inbox/b.txt", "two")
    inboxes = Inboxes(home)
    for _ in range(3):
        inboxes.sweep()
    put(home.root, "inbox/a.txt", "one more")
    changed, same = inboxes.sweep(), inboxes.sweep()
    assert landed(home) == [{"a.txt": "one", "b.txt": "two"}, {"a.txt": "one more"}]
    assert [each.news for each in (*changed, *same)] == [True, False]


def test_the_inbox_is_left_as_it_is(home: Home) -> None:
    paths = [put(home.root, "inbox/a.txt", "one"), put(home.root, "inbox/sub/b.txt", "two")]
    before = [(path.stat().st_ino, path.stat().st_mtime_ns, path.stat().st_mode, path.read_text()) for path in paths]
    scan(home)
    assert before == [
        (path.stat().st_ino, path.stat().st_mtime_ns, path.stat().st_mode, path.read_text()) for path in paths
    ]


def test_what_is_deleted_in_the_inbox_stays_landed_and_does_not_land_again_when_it_is_back(home: Home) -> None:
    put(home.root, "inbox/a.txt", "one")
    scan(home)
    (home.root / "inbox/a.txt").unlink()
    put(home.root, "inbox/b.txt", "two")
    scan(home)
    put(home.root, "inbox/a.txt", "one")
    scan(home)
    assert landed(home) == [{"a.txt": "one"}, {"b.txt": "two"}]


@pytest.mark.parametrize("again", [False, True])
def test_what_was_in_a_batch_that_is_gone_lands_again(home: Home, again: bool) -> None:
    put(home.root, "inbox/a.txt", "one")
    scan(home)
    put(home.root, "inbox/b.txt", "two")
    scan(home)
    if again:  # so that it is remembered as what had landed
        put(home.root, "inbox/a.txt", "one", age_seconds=100)
        scan(home)
    [first] = (home.root / "data/landing/docs").glob("0001-*")
    shutil.rmtree(first)
    scan(home)
    assert landed(home) == [{"b.txt": "two"}, {"a.txt": "one"}]


def test_what_a_person_withdrew_stays_so_until_the_file_changes(home: Home) -> None:
    put(home.root, "inbox/a.txt", "one")
    scan(home)
    land(home.root, "docs", [], ["a.txt"], now=datetime.now(UTC))
    (home.hidden / MEMORY).unlink()
    assert scan(home).batch is None
    put(home.root, "inbox/a.txt", "changed")
    assert scan(home).batch


def test_a_touched_file_is_not_landed_again(home: Home) -> None:
    put(home.root, "inbox/a.txt", "one")
    scan(home)
    put(home.root, "inbox/a.txt", "one", age_seconds=100)
    assert scan(home).batch is None
    assert scan(home).news is False


def test_a_file_that_goes_back_to_what_it_was_lands_again(home: Home) -> None:
    for text in ("one", "other", "one"):
        put(home.root, "inbox/a.txt", text)
        os.utime(home.root / "inbox/a.txt", ns=(1, time.time_ns()))
        scan(home)
    assert landed(home) == [{"a.txt": "one"}, {"a.txt": "other"}, {"a.txt": "one"}]


def test_what_a_person_landed_does_not_land_again_from_the_inbox(home: Home) -> None:
    path = put(home.root, "inbox/a.txt", "one")
    assert land(home.root, "docs", [path], now=datetime.now(UTC))
    put(home.root, "inbox/b.txt", "two")
    scan(home)
    assert landed(home) == [{"a.txt": "one"}, {"b.txt": "two"}]


def test_a_file_that_is_being_written_waits_until_it_holds_still(tmp_path: Path) -> None:
    home = workspace(tmp_path, {"settle_seconds": 60})
    inboxes = Inboxes(home)
    path = put(home.root, "inbox/a.txt", "half")
    [found] = inboxes.sweep()
    assert landed(home) == []
    assert found.due_seconds == pytest.approx(60, abs=5)
    put(home.root, "inbox/a.txt", "half and half", age_seconds=30)
    [found] = inboxes.sweep()
    assert found.due_seconds == pytest.approx(30, abs=5)
    os.utime(path, (time.time() - 61, time.time() - 61))
    [found] = inboxes.sweep()
    assert landed(home) == [{"a.txt": "half and half"}]
    assert found.due_seconds is None


@pytest.mark.parametrize("off_seconds", [1e6, 5.0])
def test_a_file_from_the_future_lands_once_it_was_seen_unchanged(tmp_path: Path, off_seconds: float) -> None:
    home = workspace(tmp_path, {"settle_seconds": 0.2})
    put(home.root, "inbox/a.txt", "one", age_seconds=-off_seconds)
    inboxes = Inboxes(home)
    assert inboxes.sweep()[0].batch is None
    until(lambda: inboxes.sweep()[0].batch is not None)


def test_settled_files_wait_a_while_for_those_beside_them(tmp_path: Path) -> None:
    home = workspace(tmp_path, {"settle_seconds": 60})
    put(home.root, "inbox/a.txt", "one", age_seconds=61)
    put(home.root, "inbox/b.txt", "two", age_seconds=50)
    inboxes = Inboxes(home)
    assert inboxes.sweep()[0].due_seconds == pytest.approx(4, abs=1)
    put(home.root, "inbox/b.txt", "two", age_seconds=61)
    inboxes.sweep()
    assert landed(home) == [{"a.txt": "one", "b.txt": "two"}]


def test_a_file_that_is_written_for_ever_holds_up_no_other(tmp_path: Path) -> None:
    home = workspace(tmp_path, {"settle_seconds": 60})
    put(home.root, "inbox/a.txt", "one", age_seconds=66)
    put(home.root, "inbox/log.txt", "line", age_seconds=0)
    scan(home)
    assert landed(home) == [{"a.txt": "one"}]


def test_after_a_crash_between_landing_and_remembering_nothing_lands_twice_and_nothing_is_lost(home: Home) -> None:
    put(home.root, "inbox/a.txt", "one")
    scan(home)
    before = (home.hidden / MEMORY).read_bytes()
    put(home.root, "inbox/a.txt", "changed")
    put(home.root, "inbox/b.txt", "two")
    scan(home)
    (home.hidden / MEMORY).write_bytes(before)
    put(home.root, "inbox/c.txt", "three")
    scan(home)
    assert landed(home) == [{"a.txt": "one"}, {"a.txt": "changed", "b.txt": "two"}, {"c.txt": "three"}]


@pytest.mark.parametrize(
    "damage", [None, b"", b'{"inboxes": {"docs inb', b"[]", b'{"inboxes": {"docs inbox": 3}}', b"\xff"]
)
def test_a_lost_or_damaged_memory_lands_nothing_twice(home: Home, damage: bytes | None) -> None:
    put(home.root, "inbox/a.txt", "one")
    put(home.root, "inbox/b.txt", "two")
    scan(home)
    (home.hidden / MEMORY).unlink() if damage is None else (home.hidden / MEMORY).write_bytes(damage)
    assert scan(home).batch is None
    assert len(landed(home)) == 1
    assert set(read_memory(home).inboxes["docs inbox"].taken) == {"a.txt", "b.txt"}


def test_copies_that_a_dead_process_left_are_removed_and_those_of_a_living_one_are_not(home: Home) -> None:
    dead = put(home.hidden, f"{ARRIVING}/dead/a.txt", "half").parent
    inboxes = Inboxes(home)
    with inboxes._arriving() as living:
        put(home.root, "inbox/a.txt", "one")
        scan(home)
        assert (living.exists(), dead.exists()) == (True, False)
    assert list((home.hidden / ARRIVING).iterdir()) == []


def test_two_watchers_at_once_land_everything_once(home: Home) -> None:
    for number in range(200):
        put(home.root, f"inbox/{number:03d}.txt", f"text {number}")
    watchers = [scanning(home, "once") for _ in range(2)]
    assert [watcher.wait(60) for watcher in watchers] == [0, 0], (home.root / "child.log").read_text()
    files = [name for batch in landed(home) for name in batch]
    assert sorted(files) == [f"{number:03d}.txt" for number in range(200)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_again_and_again_every_version_lands_exactly_once(home: Home, seed: int) -> None:
    import random

    chance = random.Random(seed)
    texts: dict[str, list[str]] = {}
    for moment in range(12):
        watchers = [scanning(home, "for ever") for _ in range(2)]
        for _ in range(5):
            name = f"{chance.randrange(8)}.txt"
            texts.setdefault(name, []).append(f"{moment} {chance.random()}")
            put(home.root, f"inbox/{name}", texts[name][-1])
            wanted = texts[name][-1]
            until(lambda: any(wanted in batch.values() for batch in landed(home)) or chance.random() < 0.05)  # noqa: B023
        for watcher in watchers:
            watcher.send_signal(signal.SIGKILL)
            watcher.wait()
    scan(home)
    found = landed(home)
    for name, written in texts.items():
        versions = [batch[name] for batch in found if name in batch]
        assert len(versions) == len(set(versions)), "landed twice"
        assert versions[-1] == written[-1], "lost"
        assert [text for text in written if text in versions] == versions, "out of order"


def test_a_second_inbox_of_the_task_cannot_replace_what_the_first_landed(tmp_path: Path) -> None:
    home = workspace(tmp_path, {"address": "one"}, {"address": "two"})
    put(home.root, "one/a.txt", "one")
    put(home.root, "two/a.txt", "two")
    put(home.root, "two/b.txt", "two")
    inboxes = Inboxes(home)
    assert [each.refused for each in inboxes.sweep()] == [
        {},
        {"a.txt": "a file of this name has landed from one; rename one of them"},
    ]
    assert [each.news for each in inboxes.sweep()] == [False, False]
    assert landed(home) == [{"a.txt": "one"}, {"b.txt": "two"}]


def test_a_file_lands_for_each_task_that_watches_its_folder(tmp_path: Path) -> None:
    home = workspace(tmp_path, {}, {"task": "mail", "pattern": "*.mbox"})
    put(home.root, "inbox/a.mbox", "one")
    put(home.root, "inbox/b.txt", "two")
    Inboxes(home).sweep()
    assert (landed(home), landed(home, "mail")) == ([{"a.mbox": "one", "b.txt": "two"}], [{"a.mbox": "one"}])


@pytest.mark.parametrize(("first", "second"), [("inbox", "inbox"), ("inbox", "inbox/sub"), ("a/../inbox/sub", "inbox")])
def test_places_of_one_task_may_not_overlap(tmp_path: Path, first: str, second: str) -> None:
    with pytest.raises(ValueError, match="overlap, so a file would land twice"):
        Inboxes(workspace(tmp_path, {"address": first}, {"address": second}))


def test_a_file_that_cannot_land_is_said_once_and_stops_no_other(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(put(home.root, "inbox/a.txt", "one").parent / "pipe")
    found = scan(home)
    assert found.refused == {"pipe": "wanted a regular file, found a device, pipe or socket; leave it out"}
    assert landed(home) == [{"a.txt": "one"}]
    assert read_memory(home).inboxes["docs inbox"].refused == found.refused
    caplog.clear()
    assert (scan(home).refused, scan(home).news, caplog.text) == ({}, False, "")
    (home.root / "inbox/pipe").unlink()
    put(home.root, "inbox/pipe", "two")
    assert scan(home).batch
    assert read_memory(home).inboxes["docs inbox"].refused == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_lands_once_it_can(home: Home) -> None:
    put(home.root, "inbox/a.txt", "one")
    path = put(home.root, "inbox/b.txt", "two")
    path.chmod(0)
    assert "Permission denied" in scan(home).refused["b.txt"]
    assert scan(home).refused == {}
    path.chmod(0o644)
    scan(home)
    assert landed(home) == [{"a.txt": "one"}, {"b.txt": "two"}]


def test_a_file_that_cannot_be_copied_is_refused_by_name_and_stops_no_other(tmp_path: Path) -> None:
    root = tmp_path / "/".join(["d" * 200] * 16)  # so that what lies deep is longer than a path can be
    home = workspace(root, {"address": "memory://deep"})
    deep = "/".join(["d" * 200] * 4)
    fsspec.filesystem("memory").pipe({"/deep/a.txt": b"one", f"/deep/{deep}/b.txt": b"two"})
    found = scan(home)
    assert landed(home) == [{"a.txt": "one"}]
    assert [(name[-6:], why[:16]) for name, why in found.refused.items()] == [("/b.txt", "cannot be copied")]
    assert scan(home).refused == {}


def test_the_reason_of_the_same_error_is_the_same_each_time() -> None:
    errors = [OSError(5, "Input/output error", f"/home/.perennial/{ARRIVING}/tmp{n}_x/a.txt") for n in range(2)]
    errors += [OSError(5, "Input/output error", f"/home/data/landing/docs/.partial-{n}a") for n in range(2)]
    assert len({inbox_module._reason(error) for error in errors}) == 2


def test_no_such_task_is_a_problem_of_the_inbox_and_over_once_there_is(tmp_path: Path) -> None:
    home = workspace(tmp_path, {"task": "novel"})
    put(home.root, "inbox/a.txt", "one")
    first, second = scan(home), scan(home)
    assert first.problem == "no task 'novel' in data/tasks.yaml; there are: docs, mail"
    assert (first.news, second.news) == (True, False)
    assert read_memory(home).inboxes["novel inbox"].problem == first.problem
    (home.root / "data/tasks.yaml").write_text("tasks: {novel: }")
    assert scan(home).batch
    assert read_memory(home).inboxes["novel inbox"].problem == ""


def test_more_than_the_disk_has_room_for_is_not_begun(home: Home) -> None:
    put(home.root, "inbox/a.txt", "one")
    with (home.root / "inbox/huge.bin").open("wb") as file:
        file.truncate(2**43)  # a file with a hole: it takes no room itself
    found = scan(home)
    assert "make room" in found.problem
    assert landed(home) == []
    (home.root / "inbox/huge.bin").unlink()
    assert (scan(home).batch is not None, read_memory(home).inboxes["docs inbox"].problem) == (True, "")


def test_a_data_folder_that_cannot_be_written_is_a_problem_and_nothing_is_lost(home: Home) -> None:
    put(home.root, "inbox/a.txt", "one")
    put(home.root, "data/landing/docs", "no folder")
    assert "data/landing/docs" in scan(home).problem
    assert scan(home).news is False
    (home.root / "data/landing/docs").unlink()
    scan(home)
    assert landed(home) == [{"a.txt": "one"}]


def test_a_folder_of_the_workspace_is_made_and_one_elsewhere_is_not(tmp_path: Path) -> None:
    home = workspace(tmp_path / "home", {}, {"task": "mail", "address": str(tmp_path / "away")})
    [ours, theirs] = Inboxes(home).sweep()
    assert (ours.problem, (home.root / "inbox").is_dir()) == ("", True)
    assert "No such file or directory" in theirs.problem
    assert not (tmp_path / "away").exists()


def test_undecodable_names_are_refused_and_the_memory_stays_readable(home: Home) -> None:
    put(home.root, "inbox/a.txt", "one")
    Path(os.fsdecode(os.fsencode(home.root / "inbox") + b"/\xff.txt")).write_text("two")
    assert scan(home).refused == {"\\xff.txt": "a name that is no UTF-8; rename it"}
    assert json.loads((home.hidden / MEMORY).read_text())
    assert landed(home) == [{"a.txt": "one"}]


def test_the_lock_is_not_kept_by_a_killed_watcher(home: Home) -> None:
    put(home.root, "inbox/a.txt", "one")
    watcher = scanning(home, "for ever")
    until((home.hidden / LOCK).exists)
    watcher.send_signal(signal.SIGKILL)
    watcher.wait()
    put(home.root, "inbox/b.txt", "two")
    scan(home)
    assert sorted(name for batch in landed(home) for name in batch) == ["a.txt", "b.txt"]


def test_the_landed_bytes_are_those_of_the_inbox(home: Home) -> None:
    path = home.root / "inbox" / "a.jsonl.gz"
    path.parent.mkdir()
    path.write_bytes(os.urandom(3 * 2**20 + 17))
    found = scan(home)
    assert found.batch
    assert digest_of_file(home.root / found.batch.path / "files/a.jsonl.gz") == digest_of_file(path)


def test_files_that_landed_are_not_read_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(100):
        put(home.root, f"inbox/{number % 10}/{number}.txt", str(number))
    inboxes = Inboxes(home)
    assert inboxes.sweep()[0].news is True

    def read(path: Path) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(inbox_module, "digest_of_file", read)
    assert inboxes.sweep()[0].news is False
