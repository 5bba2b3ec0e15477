import http.server
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines.edge.home import Home
from pipelines.edge.settings import Inbox
from pipelines.service.arrivals import Folder, Place, Room, place_of
from pipelines.service.inbox import Inboxes
from tests.pipelines.service.watched import landed, put, scan, workspace


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Lists folders and serves files, like any plain web server."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "web").mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "web")))
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def place(home: Home, address: str, **fields: Any) -> Place:
    return place_of(home, Inbox(task="docs", address=address, **fields))


def names(home: Home, address: str, **fields: Any) -> list[str]:
    return sorted(found.name for found in place(home, address, **fields).look().files)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return workspace(tmp_path / "home")


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("**/*", ["a.jsonl", "b.TXT", "sub/c.jsonl", "sub/deep/d.jsonl"]),
        ("*", ["a.jsonl", "b.TXT"]),
        ("**/*.jsonl", ["a.jsonl", "sub/c.jsonl", "sub/deep/d.jsonl"]),
        ("sub/*.jsonl", ["sub/c.jsonl"]),
        ("sub/**", ["sub/c.jsonl", "sub/deep/d.jsonl"]),
        ("[ab].*", ["a.jsonl", "b.TXT"]),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "file", "memory"])
def test_the_pattern_chooses_and_what_is_hidden_empty_or_unfinished_is_left_alone(
    home: Home, kind: str, pattern: str, wanted: list[str]
) -> None:
    left = [".hidden", "sub/.hidden/e.jsonl", "f.part", "sub/g.jsonl.tmp", "h.CRDOWNLOAD", "i.jsonl.filepart"]
    address = {"folder": "inbox", "file": f"file://{home.root}/inbox", "memory": "memory://chosen"}[kind]
    for name in ["a.jsonl", "b.TXT", "sub/c.jsonl", "sub/deep/d.jsonl", "empty.jsonl", *left]:
        text = "" if name == "empty.jsonl" else "x"
        put(home.root, f"inbox/{name}", text)
        fsspec.filesystem("memory").pipe(f"/chosen/{name}", text.encode())
    assert names(home, address, pattern=pattern) == wanted


def test_links_land_nothing_and_those_that_lead_out_are_refused(home: Home, tmp_path: Path) -> None:
    put(tmp_path, "secret/key.txt", "secret")
    put(home.root, "inbox/a.txt", "one")
    put(home.root, "inbox/sub/b.txt", "two")
    for name, target in {
        "out.txt": tmp_path / "secret/key.txt",
        "out": tmp_path / "secret",
        "up": home.root,
        "inside.txt": home.root / "inbox/a.txt",
        "inside": home.root / "inbox/sub",
        "loop": home.root / "inbox/loop",
        "nowhere.txt": tmp_path / "nowhere",
        "sub/above": home.root / "inbox",
    }.items():
        (home.root / "inbox" / name).symlink_to(target)
    found = scan(home)
    assert landed(home) == [{"a.txt": "one", "sub/b.txt": "two"}]
    assert set(found.refused) == {"out.txt", "out", "up", "nowhere.txt"}
    assert all("leads out of the inbox" in why for why in found.refused.values())


def test_a_file_or_folder_that_becomes_a_link_after_it_was_seen_is_not_followed(home: Home, tmp_path: Path) -> None:
    put(tmp_path, "secret/b.txt", "secret")
    put(home.root, "inbox/a.txt", "secret")
    put(home.root, "inbox/sub/b.txt", "secret")
    inbox = place(home, "inbox")
    found = {each.name: each for each in inbox.look().files}
    (home.root / "inbox/a.txt").unlink()
    (home.root / "inbox/a.txt").symlink_to(tmp_path / "secret/b.txt")
    (home.root / "inbox/sub").rename(home.root / "moved")
    (home.root / "inbox/sub").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic link"):
        inbox.copy(found["a.txt"], tmp_path / "copy", Room(tmp_path))
    assert not inbox.copy(found["sub/b.txt"], tmp_path / "copy", Room(tmp_path))


def test_a_file_that_changes_vanishes_or_turns_into_a_pipe_is_not_copied(home: Home, tmp_path: Path) -> None:
    for name in ("changed", "replaced", "gone", "pipe"):
        put(home.root, f"inbox/{name}", "one")
    inbox = place(home, "inbox")
    found = {each.name: each for each in inbox.look().files}
    put(home.root, "inbox/changed", "another")
    put(home.root, "inbox/other", "other")
    (home.root / "inbox/other").rename(home.root / "inbox/replaced")
    for name in ("gone", "pipe"):
        (home.root / "inbox" / name).unlink()
    os.mkfifo(home.root / "inbox/pipe")
    assert [inbox.copy(each, tmp_path / "copy", Room(tmp_path)) for each in found.values()] == [False] * 4


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("../elsewhere", "leaves the workspace"),
        ("link", "leaves the workspace"),
        (".", "which perennial fills itself"),
        ("data", "which perennial fills itself"),
        ("data/landing/docs", "which perennial fills itself"),
        (".perennial/service", "which perennial fills itself"),
        ("/", "which perennial fills itself"),
        ("file://host/folder", "write three slashes"),
        ("s3://user:s3cret@bucket/docs", "belong in the environment"),
        ("https://host/docs?signature=s3cret", "belong in the environment"),
        ("s3://bucket/../other", "without `..`"),
        ("https://host/%2e%2e/other", "without `..`"),
        ("nosuch://bucket/docs", "Protocol not known"),
        ("S3://user:s3cret@bucket/docs", "belong in the environment"),
        ("zip://a::https://user:s3cret@host/b.zip", "are not unpacked"),
    ],
)
def test_an_address_that_will_not_do_is_refused_and_no_password_is_told(home: Home, address: str, said: str) -> None:
    (home.root / "link").symlink_to(home.root.parent)
    with pytest.raises(ValueError, match=said) as refusal:
        place(home, address)
    assert "s3cret" not in str(refusal.value)


def test_a_pattern_that_will_not_do_is_refused(home: Home) -> None:
    with pytest.raises(ValueError, match=r"pattern 'a\*\*': .*for instance"):
        place(home, "inbox", pattern="a**")


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/passwd", "a//x", "a/../x", "nul\0x", "long" * 100, "deep/" * 300 + "x"],
)
def test_names_that_an_address_lists_cannot_leave_the_landing(tmp_path: Path, name: str) -> None:
    home = workspace(tmp_path, {"address": "memory://hostile"})
    files = fsspec.filesystem("memory")
    files.pipe("/hostile/good.txt", b"good")
    files.store[f"/hostile/{name}"] = files.store["/hostile/good.txt"]  # as an object store could name it
    try:
        found = scan(home)
        assert landed(home) == [{"good.txt": "good"}]
        assert list(found.refused) == [name]
    finally:
        del files.store[f"/hostile/{name}"]


def test_an_object_lands_once_and_again_when_it_changes(tmp_path: Path) -> None:
    home = workspace(tmp_path, {"address": "memory://objects/docs"})
    files = fsspec.filesystem("memory")
    files.pipe({"/objects/docs/a.txt": b"one", "/objects/docs/sub/b.txt": b"two", "/objects/docsy/c.txt": b"other"})
    inboxes = Inboxes(home)
    inboxes.sweep()
    assert inboxes.sweep()[0].news is False
    files.pipe("/objects/docs/a.txt", b"One")
    inboxes.sweep()
    assert landed(home) == [{"a.txt": "one", "sub/b.txt": "two"}, {"a.txt": "One"}]


def test_an_object_whose_time_is_not_told_settles_by_being_seen_twice(tmp_path: Path) -> None:
    home = workspace(tmp_path, {"address": "memory://settling", "settle_seconds": 60})
    fsspec.filesystem("memory").pipe("/settling/a.txt", b"one")
    assert 55 < (scan(home).due_seconds or 0) <= 60


def test_files_of_a_web_server_land_with_their_plain_names(tmp_path: Path, web: str) -> None:
    home = workspace(tmp_path / "home", {"address": f"{web}/docs"})
    put(tmp_path, "web/docs/sub/with space.txt", "two")
    put(tmp_path, "web/docs/large.bin", "x" * (6 * 2**20))
    put(tmp_path, "web/secret.txt", "not below the address")
    scan(home)
    assert [sorted(batch) for batch in landed(home)] == [["large.bin", "sub/with space.txt"]]
    put(tmp_path, "web/docs/sub/with space.txt", "two and more")
    scan(home)
    assert landed(home)[1:] == [{"sub/with space.txt": "two and more"}]


def test_a_server_that_is_gone_is_a_problem_told_once_and_over_when_it_is_back(tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as once:
        port = once.server_port
    home = workspace(tmp_path / "home", {"address": f"http://127.0.0.1:{port}/docs"})
    put(tmp_path, "web/docs/a.txt", "one")
    inboxes = Inboxes(home)
    [first], [second] = inboxes.sweep(), inboxes.sweep()
    assert f"http://127.0.0.1:{port}/docs: cannot be read" in first.problem
    assert (first.news, second.news) == (True, False)
    handler = partial(Quiet, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        [third] = inboxes.sweep()
        server.shutdown()
        thread.join()
    assert (third.problem, third.news, landed(home)) == ("", True, [{"a.txt": "one"}])


def test_an_address_without_anything_is_a_problem_and_not_an_empty_place(home: Home, web: str) -> None:
    with pytest.raises(FileNotFoundError, match="memory://nothing-here: nothing is there"):
        place(home, "memory://nothing-here").look()
    with pytest.raises(FileNotFoundError, match="nothing is there"):
        place(home, f"{web}/nothing-here").look()


def test_no_more_than_there_is_room_for_is_downloaded(home: Home, tmp_path: Path, web: str) -> None:
    put(tmp_path, "web/a.bin", "x" * 2**20)
    inbox = place(home, web)
    [found] = inbox.look().files
    room = Room(tmp_path)
    room.left = 1000
    with pytest.raises(OSError, match="make room"):
        inbox.copy(found, tmp_path / "copy", room)


@pytest.mark.parametrize(
    "address",
    [
        "inbox",
        "inbox/",
        "inbox/a.txt",
        "inbox/not-there-yet",
        "{root}/inbox/a.txt",
        "file://{root}/inbox",
        "FILE://{root}/inbox/sub/x y.txt",
    ],
)
def test_a_folder_holds_what_lies_in_it(home: Home, address: str) -> None:
    assert place(home, "inbox").holds(address.format(root=home.root))


@pytest.mark.parametrize(
    "address",
    [
        "",
        ".",
        "/",
        "inbox2",
        "inboxes/a.txt",
        "data/tasks.yaml",
        "inbox/../data/tasks.yaml",
        "inbox/..",
        "..",
        "inbox/%2e%2e/data",
        "inbox/%252e%252e/data",
        "inbox/%25252525252525252e%252e/x",
        "inbox\\..\\data",
        "inbox/\0a",
        "inbox/a\nb",
        "/etc/passwd",
        "{root}",
        "{root}/inbox/../data",
        "file:///etc/passwd",
        "file://localhost{root}/inbox/a.txt",
        "file:inbox",
        "http://127.0.0.1/inbox",
        "s3://inbox/a.txt",
        "memory://inbox/a.txt",
        "inbox/out/key.txt",
        "inbox/out.txt",
        "~/inbox",
    ],
)
def test_a_folder_does_not_hold_what_only_looks_like_it(home: Home, tmp_path: Path, address: str) -> None:
    put(tmp_path, "secret/key.txt", "secret")
    put(home.root, "inbox/a.txt", "one")
    (home.root / "inbox/out").symlink_to(tmp_path / "secret")
    (home.root / "inbox/out.txt").symlink_to(tmp_path / "secret/key.txt")
    assert not place(home, "inbox").holds(address.format(root=home.root))


HOLDING = "https://host.example/docs"


@pytest.mark.parametrize(
    "address",
    [
        "https://host.example/docs",
        "https://host.example/docs/",
        "HTTPS://host.example/docs/a.txt",
        "https://host.example/docs/sub/a%20b.txt",
    ],
)
def test_an_address_holds_what_lies_below_it(home: Home, address: str) -> None:
    assert place(home, HOLDING).holds(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/docs",
        "docs",
        "https://host.example",
        "https://host.example/",
        "https://host.example/docs2",
        "https://host.example/docs/../secret",
        "https://host.example/docs/%2e%2e/secret",
        "https://host.example/docs/%2E%2e%2fsecret",
        "https://host.example/docs/..%2fsecret",
        "https://host.example/docs/%252e%252e/x",
        "https://host.example/docs\\..\\secret",
        "http://host.example/docs/a",
        "ftp://host.example/docs/a",
        "https://evil.example/docs/a",
        "https://host.example.evil.example/docs/a",
        "https://host.example@evil.example/docs/a",
        "https://evil.example/https://host.example/docs/a",
        "https://host.example:8443/docs/a",
        "https://host.example/docs/a?url=http://evil.example",
        "https://host.example/docs/a#b",
        "https://host.example/docs/a\r\nHost: evil",
        " https://host.example/docs/a",
        "//host.example/docs/a",
        "https:/host.example/docs/a",
        "s3://docs/a",
        "file:///docs",
    ],
)
def test_an_address_does_not_hold_what_only_looks_like_it(home: Home, address: str) -> None:
    assert not place(home, HOLDING).holds(address)


def test_a_folder_elsewhere_is_the_users_choice(home: Home, tmp_path: Path) -> None:
    put(tmp_path, "away/a.txt", "one")
    assert names(home, str(tmp_path / "away")) == ["a.txt"]
    assert isinstance(place(home, str(tmp_path / "away")), Folder)
