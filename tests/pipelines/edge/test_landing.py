import errno
import json
import os
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from pipelines.edge.landing import batches, land, land_from, load_tasks
from steps.core.artifacts import Batch

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tasks.yaml").write_text(
        "tasks:\n  second: {licences: [MIT]}\n  docs:\n    role: replay-only\n"
    )
    return tmp_path


def put(root: Path, name: str, text: str) -> Path:
    path = root / "inbox" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def landed(root: Path, name: str, text: str, *removals: str) -> Batch | None:
    return land(root, "docs", [put(root, name, text)], removals, now=NOW)


def names(root: Path, batch: Batch | None) -> list[str]:
    assert batch
    folder = root / batch.path / "files"
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_tasks_come_in_the_order_of_the_file(root: Path) -> None:
    tasks = load_tasks(root)
    assert [(task.name, task.role, task.licences) for task in tasks.values()] == [
        ("second", "train", ("MIT",)),
        ("docs", "replay-only", ()),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tasks: {docs: {roll: train}}", "task docs: roll.*the facts of a task are: role, contract"),
        ("tasks: {docs: {licences: MIT}}", "licences"),
        ("tasks: {Docs!: {}}", "task Docs!"),
        ("tasks: {docs: {name: docs}}", "no `name`"),
        ("docs: {}", "wanted `tasks"),
        ("tasks: [", "wanted YAML"),
    ],
)
def test_a_wrong_fact_is_named(root: Path, text: str, said: str) -> None:
    (root / "data" / "tasks.yaml").write_text(text)
    with pytest.raises(ValueError, match=said):
        load_tasks(root)


def test_batches_are_numbered_and_hold_what_landed(root: Path) -> None:
    first = landed(root, "a.txt", "one")
    second = landed(root, "b.txt", "two", "z", "a", "a")
    assert [first, second] == batches(root, "docs")
    assert second
    assert second.name == f"0002-{second.digest[:8]}"
    assert (second.time, second.removals) == ("2026-03-01T10:00:00+00:00", ("a", "z"))
    assert (root / second.path / "files" / "b.txt").read_text() == "two"


def test_the_digest_is_of_the_content_and_not_of_the_time(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "data").mkdir()
    (other / "data" / "tasks.yaml").write_text("tasks: {docs: }")
    later = land(other, "docs", [put(other, "a.txt", "one")], now=NOW + timedelta(days=9))
    first = landed(root, "a.txt", "one")
    assert first
    assert later
    assert (first.digest, first.name) == (later.digest, later.name)
    assert first.time != later.time


def test_the_same_content_lands_once(root: Path) -> None:
    landed(root, "a.txt", "one")
    landed(root, "b.txt", "two")
    assert landed(root, "a.txt", "one") is None
    assert landed(root, "renamed.txt", "two") is None
    assert len(batches(root, "docs")) == 2


def test_a_page_that_changed_back_lands_again(root: Path) -> None:
    landed(root, "a.txt", "one")
    landed(root, "a.txt", "two")
    assert landed(root, "a.txt", "one") in batches(root, "docs")
    assert landed(root, "a.txt", "one") is None


def test_a_withdrawn_page_lands_again_and_can_be_withdrawn_again(root: Path) -> None:
    for expected in (1, 3):
        landed(root, "a.txt", "one")
        assert len(batches(root, "docs")) == expected
        land(root, "docs", [], ["a.txt"], now=NOW)
        assert land(root, "docs", [], ["a.txt"], now=NOW) is None
        assert len(batches(root, "docs")) == expected + 1


def test_a_folder_lands_whole_and_equal_names_keep_their_folders(root: Path) -> None:
    put(root, "x/a.txt", "1"), put(root, "x/deep/b.txt", "2"), put(root, "y/a.txt", "3"), put(root, "x/.git/c", "4")
    assert names(root, land(root, "docs", [root / "inbox" / "x"], now=NOW)) == ["a.txt", "deep/b.txt"]
    both = land(root, "docs", [root / "inbox" / "x" / "a.txt", root / "inbox" / "y"], now=NOW)
    assert names(root, both) == ["x/a.txt", "y/a.txt"]


def test_names_do_not_depend_on_how_a_path_is_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(root, "x/a.txt", "1")
    monkeypatch.chdir(path.parent)
    assert names(root, land(root, "docs", [Path("../x/a.txt"), Path("a.txt"), path], now=NOW)) == ["a.txt"]


def test_bad_arguments_are_refused_and_leave_nothing(root: Path) -> None:
    inbox = put(root, "a.txt", "one").parent
    (inbox / "out").symlink_to("/etc/hostname")
    (inbox / "lost").symlink_to(inbox / "nowhere")
    os.mkfifo(root / "pipe")
    (root / "empty").mkdir()
    for path, said in {
        inbox / "nowhere.txt": "missing",
        inbox / "out": "a link to .*, outside|points nowhere",
        inbox / "lost": "points nowhere",
        inbox: "outside|missing file",
        root / "pipe": "regular file",
        root / "empty": "an empty folder",
    }.items():
        with pytest.raises(ValueError, match=said):
            land(root, "docs", [inbox / "a.txt", path], now=NOW)
    with pytest.raises(ValueError, match=r"no task '\.\./x'; there are: second, docs"):
        land(root, "../x", [inbox / "a.txt"], now=NOW)
    with pytest.raises(ValueError, match="nothing to land"):
        land(root, "docs", [], now=NOW)
    with pytest.raises(ValueError, match="an empty one"):
        land(root, "docs", [], [""], now=NOW)
    assert not (root / "data" / "landing").exists() or not list((root / "data" / "landing").rglob("*.txt"))


def test_a_full_disk_leaves_nothing_partial(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(root, "a.txt", "one")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="disk full while landing 1 files"):
            land(root, "docs", [path], now=NOW)
    assert list((root / "data" / "landing" / "docs").iterdir()) == []
    assert land(root, "docs", [path], now=NOW) in batches(root, "docs")


def test_what_a_killed_landing_left_is_no_batch_and_goes_at_the_next(root: Path) -> None:
    folder = root / "data" / "landing" / "docs"
    (folder / ".partial-dead" / "files").mkdir(parents=True)
    assert batches(root, "docs") == []
    landed(root, "a.txt", "one")
    assert [path.name[:4] for path in folder.iterdir()] == ["0001"]


def test_a_folder_without_manifest_is_left_out_with_a_warning(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "data" / "landing" / "docs" / "0007-0123abcd").mkdir(parents=True)
    batch = landed(root, "a.txt", "one")
    assert batch
    assert batch.name.startswith("0008-")
    assert batches(root, "docs") == [batch]
    assert "0007-0123abcd: no batch" in caplog.text


def test_a_batch_that_was_changed_is_refused(root: Path) -> None:
    batch = landed(root, "a.txt", "one")
    assert batch
    file = root / batch.path / "files" / "a.txt"
    file.write_text("longer")
    with pytest.raises(ValueError, match=r"a\.txt: wanted 3 bytes, found 6"):
        batches(root, "docs")
    file.unlink()
    with pytest.raises(ValueError, match="found no file"):
        batches(root, "docs")
    manifest = root / batch.path / "manifest.json"
    content = json.loads(manifest.read_text())
    content["files"][0]["name"] = "../../../../../etc/passwd"
    manifest.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="leaves the batch's folder"):
        batches(root, "docs")


def test_landings_at_the_same_time_take_turns(root: Path) -> None:
    paths = [put(root, f"{number}.txt", str(number)) for number in range(8)]
    threads = [threading.Thread(target=land, args=(root, "docs", [path]), kwargs={"now": NOW}) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [batch.name[:4] for batch in batches(root, "docs")] == [f"{number:04d}" for number in range(1, 9)]


def test_a_source_lands_once_and_what_it_no_longer_has_is_withdrawn(root: Path) -> None:
    gone = {"key": "python/gone#page", "text": "old"}
    landed(root, "python-topics.jsonl", json.dumps(gone) + "\n")
    batch = land_from(root, "docs", "python:topics", now=datetime(2026, 1, 1, tzinfo=UTC))
    assert batch
    assert batch.removals == ("python/gone#page",)
    assert land_from(root, "docs", "python:topics", now=NOW) is None
    with pytest.raises(ValueError, match="no task 'nope'"):
        land_from(root, "nope", "python:topics", now=NOW)
