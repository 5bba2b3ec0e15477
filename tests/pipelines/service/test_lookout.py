import http.server
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import fsspec
import pytest

from pipelines.edge.home import Home
from pipelines.service.inbox import Inboxes, Scan
from pipelines.service.lookout import Lookout
from tests.pipelines.service.test_arrivals import Quiet
from tests.pipelines.service.watched import landed, put, until, workspace

Watch = Callable[[Home], tuple[Lookout, list[Scan]]]
POLLED = {"address": "memory://polled", "poll_seconds": 3600}


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Starts watching in a thread; gives the lookout and the list to which its news are added."""
    stop = threading.Event()
    threads = []

    def start(home: Home) -> tuple[Lookout, list[Scan]]:
        lookout = Lookout(Inboxes(home))
        news: list[Scan] = []
        ticks = []

        def run() -> None:
            for scan in lookout.scans(stop, tick_seconds=0.05):
                ticks.append(None) if scan is None else news.append(scan)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        until(lambda: len(ticks) > 0)
        return lookout, news

    yield start
    stop.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_what_lies_there_at_the_start_lands(tmp_path: Path, watch: Watch) -> None:
    home = workspace(tmp_path, {}, {"task": "mail", "address": "mail"})
    put(home.root, "inbox/a.txt", "one")
    put(home.root, "mail/a.txt", "two")
    _, news = watch(home)
    until(lambda: len(news) == 2)
    assert (landed(home), landed(home, "mail")) == ([{"a.txt": "one"}], [{"a.txt": "two"}])


@pytest.mark.parametrize("name", ["a.txt", "new/folder/a.txt"])
def test_a_new_file_is_noticed_without_a_poll(tmp_path: Path, watch: Watch, name: str) -> None:
    home = workspace(tmp_path, {"poll_seconds": 3600})
    _, news = watch(home)
    put(home.root, "inbox/first.txt", "one")
    until(lambda: len(news) == 1)  # so the kernel is listened to
    put(home.root, f"inbox/{name}", "two")
    until(lambda: len(news) == 2)
    assert landed(home) == [{"first.txt": "one"}, {name: "two"}]


def test_a_file_lands_when_it_has_settled_without_another_event(tmp_path: Path, watch: Watch) -> None:
    home = workspace(tmp_path, {"poll_seconds": 3600, "settle_seconds": 0.3})
    _, news = watch(home)
    put(home.root, "inbox/a.txt", "one")
    until(lambda: len(news) == 1)
    assert landed(home) == [{"a.txt": "one"}]


def test_a_folder_that_is_removed_and_made_again_is_watched_again(tmp_path: Path, watch: Watch) -> None:
    home = workspace(tmp_path, {"poll_seconds": 3600})
    _, news = watch(home)
    for name in ("a.txt", "b.txt", "c.txt"):
        put(home.root, f"inbox/{name}", name)
        until(lambda: len(news) > 0)
        news.clear()
        shutil.rmtree(home.root / "inbox")
        until((home.root / "inbox").is_dir)
    assert [list(batch) for batch in landed(home)] == [["a.txt"], ["b.txt"], ["c.txt"]]


def test_a_notice_has_an_address_looked_at_now(tmp_path: Path, watch: Watch) -> None:
    home = workspace(tmp_path, POLLED)
    files = fsspec.filesystem("memory")
    files.pipe("/polled/a.txt", b"one")
    lookout, news = watch(home)
    until(lambda: len(news) == 1)
    files.pipe("/polled/b.txt", b"two")
    assert not lookout.take("docs", "memory://elsewhere/b.txt")
    assert not lookout.take("mail", "memory://polled/b.txt")
    assert lookout.take("docs", "memory://polled/b.txt")
    until(lambda: len(news) == 2)
    assert landed(home) == [{"a.txt": "one"}, {"b.txt": "two"}]


def test_a_server_that_goes_and_comes_back_does_not_end_the_watch(tmp_path: Path, watch: Watch) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as once:
        port = once.server_port
    put(tmp_path, "web/a.txt", "one")
    home = workspace(tmp_path / "home", {"address": f"http://127.0.0.1:{port}", "poll_seconds": 3600}, {"task": "mail"})
    _, news = watch(home)
    until(lambda: [bool(scan.problem) for scan in news] == [True])
    put(home.root, "inbox/a.txt", "local")
    until(lambda: landed(home, "mail") == [{"a.txt": "local"}])
    handler = partial(Quiet, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        until(lambda: landed(home) == [{"a.txt": "one"}])
        server.shutdown()
        thread.join()


def test_an_inbox_that_is_away_holds_up_no_other_and_lands_when_it_is_back(tmp_path: Path, watch: Watch) -> None:
    away = {"task": "mail", "address": str(tmp_path / "disk"), "poll_seconds": 1}
    home = workspace(tmp_path / "home", {"poll_seconds": 3600}, away)
    _, news = watch(home)
    put(home.root, "inbox/a.txt", "one")
    put(tmp_path, "disk/a.txt", "two")
    until(lambda: landed(home) == [{"a.txt": "one"}] and landed(home, "mail") == [{"a.txt": "two"}])
    until(lambda: {scan.inbox.task for scan in news if scan.batch} == {"docs", "mail"})


def test_what_no_place_is_to_blame_for_ends_the_watch(tmp_path: Path) -> None:
    home = workspace(tmp_path)
    inboxes = Inboxes(home)
    inboxes.places["docs inbox"] = None  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        list(Lookout(inboxes).scans(threading.Event()))


def test_without_inboxes_it_only_ticks(tmp_path: Path) -> None:
    home = workspace(tmp_path)
    (tmp_path / "perennial.yaml").unlink()
    scans = Lookout(Inboxes(home)).scans(threading.Event(), tick_seconds=0.01)
    assert [next(scans) for _ in range(3)] == [None, None, None]
    scans.close()  # type: ignore[attr-defined]


WATCH = """
import sys, threading
from pathlib import Path
from pipelines.edge.home import Home
from pipelines.service.inbox import Inboxes
from pipelines.service.lookout import Lookout
for _ in Lookout(Inboxes(Home(Path(sys.argv[1])))).scans(threading.Event()):
    pass
"""


@pytest.mark.slow
def test_two_watching_processes_land_a_thousand_files_that_come_one_by_one_once(tmp_path: Path) -> None:
    home = workspace(tmp_path, {"settle_seconds": 0.2})
    with (tmp_path / "child.log").open("ab") as log:
        watchers = [
            subprocess.Popen([sys.executable, "-c", WATCH, str(tmp_path)], stdout=log, stderr=log) for _ in range(2)
        ]
    try:
        for number in range(1000):
            put(home.root, f"inbox/{number % 7}/{number}.txt", str(number))
        until(lambda: sum(map(len, landed(home))) >= 1000, 60)
    finally:
        for watcher in watchers:
            watcher.kill()
            watcher.wait()
    names = [name for batch in landed(home) for name in batch]
    assert len(names) == len(set(names)) == 1000, (tmp_path / "child.log").read_text()
