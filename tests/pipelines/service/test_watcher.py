"""The watcher's decisions, against a Prefect server that only takes what it is sent."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.edge.home import Home
from pipelines.edge.session import unconsumed
from pipelines.recipe import find_recipe, load_recipe
from pipelines.service.watcher import Watcher, event
from tests.workspaces import land_rows, rows, workspace

SETTINGS = {"name": "watched", "recipe": "tiny", "triggers": {"*": {"documents": 1, "quiet": 0}}}


@contextmanager
def event_taker() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server on this machine that keeps the events that it is sent."""
    taken: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            taken.extend(json.loads(body))
            self.send_response(204)
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(404 if "csrf" in self.path else 200)
            self.end_headers()
            self.wfile.write(b'"3.8.8"')

        def log_message(self, *words: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api", taken
    server.shutdown()
    server.server_close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = workspace(tmp_path, documents=20)
    (home.root / "perennial.yaml").write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    return home


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with event_taker() as (address, taken), temporary_settings({PREFECT_API_URL: address}):
        monkeypatch.setenv("PREFECT_API_URL", address)
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield taken


def names(taken: list[dict[str, Any]]) -> list[str]:
    return [one["event"] for one in taken]


def begin(home: Home) -> str:
    """Write down an attempt on all that waits, as a refresh would."""
    recipe = load_recipe(find_recipe("tiny", home.root))
    batches = {task: [b.name for b in part.batches] for task, part in unconsumed(home, {}).items()}
    facts = {"cause": "landing", "recipe": "tiny", "fingerprint": recipe.fingerprint(), "parent": "base"}
    home.record("attempt", attempt="a", **facts, batches=batches)
    return "a"


def test_each_landing_is_told_once_whoever_landed_it_and_across_restarts(home: Home, taken: list[Any]) -> None:
    assert Watcher(home).tell_arrivals() == 3
    assert names(taken) == ["data.landed"] * 3
    land_rows(home, "types", rows("types", 20, 5))
    assert Watcher(home).tell_arrivals() == 1
    assert taken[-1]["resource"] == {"prefect.resource.id": "perennial.watched.task.types"}
    assert taken[-1]["payload"]["batch"].startswith("0002-")
    assert Watcher(home).tell_arrivals() == 0
    (home.hidden / "service/landed.json").unlink()
    Watcher(home).tell_arrivals()
    assert len({one["id"] for one in taken}) == 4, "told again, an event keeps its id"


@pytest.mark.parametrize("damaged", ["{", "[7]", "7", ""])
def test_a_damaged_memory_is_an_empty_one(home: Home, taken: list[Any], damaged: str) -> None:
    for name in ("landed", "backlog"):
        path = home.hidden / "service" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(damaged, encoding="utf-8")
    watcher = Watcher(home)
    assert watcher.tell_arrivals() == 3
    assert watcher.consider()
    assert Watcher(home).tell_arrivals() == 0


def test_what_is_due_is_asked_for_once(home: Home, taken: list[Any]) -> None:
    watcher = Watcher(home)
    for _ in range(3):
        decision = watcher.consider()
        assert decision
        assert decision.start
    assert names(taken) == ["perennial.refresh.due"]
    assert taken[0]["resource"] == {"prefect.resource.id": "perennial.watched"}
    assert sorted(taken[0]["payload"]["batches"]) == ["general", "statements", "types"]


def test_two_watchers_ask_with_the_same_event(home: Home, taken: list[Any]) -> None:
    Watcher(home).consider()
    Watcher(home).consider()
    assert len(taken) == 2
    assert len({one["id"] for one in taken}) == 1


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ({"event": "verdict", "verdict": "rejected"}, "judged before: rejected"),
        ({"event": "stopped", "by_hand": True}, "stopped by hand"),
    ],
)
def test_what_was_judged_or_stopped_by_a_person_is_not_asked_for_until_something_new_lands(
    home: Home, taken: list[Any], end: dict[str, Any], why: str
) -> None:
    attempt = begin(home)
    home.record(end.pop("event"), attempt=attempt, **end)
    decision = Watcher(home).consider()
    assert decision
    assert decision.why.startswith(why)
    land_rows(home, "types", rows("types", 20, 5))
    Watcher(home).consider()
    assert names(taken) == ["perennial.refresh.due"]


def test_what_the_service_stopped_goes_on(home: Home, taken: list[Any]) -> None:
    home.record("stopped", attempt=begin(home), by_hand=False, seconds=1.0)
    Watcher(home).consider()
    assert names(taken) == ["perennial.refresh.due"]


def test_after_a_failure_it_waits_a_while(home: Home, taken: list[Any]) -> None:
    attempt = begin(home)
    home.record("failed", attempt=attempt, kind="environment", blamed={}, error="no space", seconds=1.0)
    decision = Watcher(home).consider()
    assert decision
    assert decision.why == "a pause after a failed attempt"
    assert decision.ask_again_in
    assert 50 < decision.ask_again_in <= 60
    assert taken == []


def test_a_server_that_is_away_breaks_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
        watcher = Watcher(home)
        watcher.tick()
    assert "tell_arrivals" in caplog.text
    assert not (home.hidden / "service/landed.json").exists(), "it is told when the server is back"


def test_an_event_is_the_same_for_the_same_identity() -> None:
    assert event("a", "b", {}, "x")["id"] == event("a", "b", {"y": 1}, "x")["id"] != event("a", "b", {}, "z")["id"]
