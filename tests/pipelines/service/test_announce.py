"""What is told, to whom, how often: against real receivers on this machine."""

import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from aiosmtpd.controller import Controller

from pipelines.edge.home import Home
from pipelines.edge.registry import Registry
from pipelines.edge.workspaces import make_workspace
from pipelines.service import announce
from pipelines.service.announce import OK, PREFECT, TRIES, announce_pending, last_accepted, stale
from tests.pipelines.service.test_messages import EVENT
from tests.servers import free_port, prefect_server, running, until

SECRET = "hush-5d1f"
VERDICT = {key: EVENT[key] for key in ("attempt", "verdict", "version", "parent", "reasons", "outcome")}
DAY = timedelta(days=1)


class Receiver(ThreadingHTTPServer):
    """A webhook that keeps what it is sent; `status` is what it answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hook)
        self.got: list[dict[str, Any]] = []
        self.status = 200

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Hook(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.status == 200:
            self.server.got.append(json.loads(body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return Home(tmp_path)


def settle_on(home: Home, *channels: dict[str, Any], **settings: Any) -> None:
    content = {"name": "lamp", "notifications": list(channels), **settings}
    (home.root / "perennial.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def told(home: Home) -> list[dict[str, Any]]:
    return [event for event in home.ledger() if event["event"] == "told"]


def test_a_verdict_reaches_a_webhook_once(home: Home, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM", f"json://ana:{SECRET}@{receiver.address}/hook")
    settle_on(home, {"variable": "TEAM"})
    home.record("verdict", **VERDICT)
    (row,) = announce_pending(home)
    assert (row["what"], row["channels"]) == ("rejected", {"variable TEAM": OK})
    assert announce_pending(home) == []
    (got,) = receiver.got
    assert got["title"] == "lamp: version 3 was rejected"
    assert "| types | 3.250  | 3.000 |" in got["message"]
    assert SECRET not in home.ledger_file.read_text()


def test_a_verdict_reaches_a_mailbox(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    letters: list[bytes] = []

    class Mailbox:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            letters.append(envelope.content)
            return "250 OK"

    port = free_port()
    postman = Controller(Mailbox(), hostname="127.0.0.1", port=port)
    postman.start()
    try:
        monkeypatch.setenv("MAIL", f"mailto://127.0.0.1:{port}?from=lamp@example.org&to=ana@example.org&mode=insecure")
        settle_on(home, {"variable": "MAIL"})
        home.record("verdict", **VERDICT)
        assert announce_pending(home)[0]["channels"] == {"variable MAIL": OK}
    finally:
        postman.stop()
    letter = message_from_bytes(letters[0], policy=default)
    assert letter["subject"] == "lamp: version 3 was rejected"
    body = letter.get_body(("html",))
    assert body is not None
    assert "<table>" in body.get_content()


def test_a_channel_hears_only_what_it_asked_for(
    home: Home, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEAM", f"json://{receiver.address}")
    settle_on(home, {"variable": "TEAM", "on": ["failed", "held"]})
    home.record("verdict", **VERDICT)
    home.record("failed", attempt="a", kind="data", blamed={}, error="ValueError: torn")
    home.record("hold", task="types", batch="0001-aa", why="typos")
    home.record("hold", task="types", batch="0002-bb", why="3 failed attempts", by_rule=True)
    assert [row["what"] for row in announce_pending(home)] == ["rejected", "failed", "held"]
    assert [got["title"] for got in receiver.got] == [
        "lamp: a refresh failed (data)",
        "lamp: batch 0002-bb of types is held",
    ]


def test_a_channel_that_fails_is_tried_again_later_and_the_others_are_not(
    home: Home, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now = datetime.now(UTC)
    monkeypatch.setenv("TEAM", f"json://{receiver.address}")
    monkeypatch.setenv("GONE", f"json://ana:{SECRET}@127.0.0.1:{free_port()}")
    settle_on(home, {"variable": "TEAM"}, {"variable": "GONE"}, {"variable": "UNSET"})
    home.record("verdict", **VERDICT)
    first = announce_pending(home, now)[0]["channels"]
    assert first == {"variable TEAM": OK, "variable GONE": "ConnectionError", "variable UNSET": "LookupError"}
    assert announce_pending(home, now) == [], "not at once"
    monkeypatch.setenv("GONE", f"json://{receiver.address}")
    (again,) = announce_pending(home, now + timedelta(minutes=2))
    assert again["channels"] == {"variable GONE": OK, "variable UNSET": "LookupError"}
    assert len(receiver.got) == 2
    assert SECRET not in caplog.text + home.ledger_file.read_text()


def test_it_gives_up_after_some_tries(home: Home) -> None:
    settle_on(home, {"variable": "UNSET"})
    home.record("verdict", **VERDICT)
    now = datetime.now(UTC)
    for hours in range(0, 140, 5):
        announce_pending(home, now + timedelta(hours=hours))
    assert len(told(home)) == TRIES


def test_a_channel_that_comes_later_is_not_told_of_the_past(
    home: Home, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEAM", f"json://{receiver.address}")
    home.record("verdict", **VERDICT)
    assert announce_pending(home)[0]["channels"] == {}
    settle_on(home, {"variable": "TEAM"})
    assert announce_pending(home) == []
    assert receiver.got == []


def test_what_happened_long_ago_is_not_told(home: Home) -> None:
    home.record("verdict", **VERDICT)
    assert announce_pending(home, datetime.now(UTC) + 8 * DAY) == []


def test_a_receiver_that_never_answers_does_not_keep_a_refresh_from_ending(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announce, "LIMIT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("TEAM", f"json://127.0.0.1:{silent.getsockname()[1]}?rto=3600")
        settle_on(home, {"variable": "TEAM"})
        home.record("verdict", **VERDICT)
        assert announce_pending(home)[0]["channels"] == {"variable TEAM": "TimeoutError"}


def test_a_broken_perennial_yaml_breaks_no_refresh(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    (home.root / "perennial.yaml").write_text("notifications: 3\n", encoding="utf-8")
    home.record("verdict", **VERDICT)
    assert announce_pending(home) == []
    assert "nobody could be told" in caplog.text


def test_two_tellers_at_once_tell_once(home: Home, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM", f"json://{receiver.address}")
    settle_on(home, {"variable": "TEAM"})
    home.record("verdict", **VERDICT)
    tellers = [threading.Thread(target=announce_pending, args=(home,)) for _ in range(4)]
    for teller in tellers:
        teller.start()
    for teller in tellers:
        teller.join()
    assert len(receiver.got) == len(told(home)) == 1


def test_no_refresh_accepted_for_too_long_is_an_alert_once_a_day(home: Home) -> None:
    list(make_workspace(home.root))
    settle_on(home, alert_after_days=3)
    now = datetime.now(UTC)
    assert stale(home, now) is None, "nothing has landed, so nothing is late"
    backdated(home, now - 3.1 * DAY, **{**VERDICT, "verdict": "accepted"})
    backdated(home, now - 1 * DAY, **VERDICT)
    assert stale(home, now - 0.2 * DAY) is None
    event = stale(home, now)
    assert event is not None
    assert event["days"] == 3.1
    assert stale(home, now) is None, "once a day"
    assert stale(home, now + 1.1 * DAY)


def test_before_the_first_refresh_it_counts_from_the_first_landing(home: Home) -> None:
    from tests.workspaces import NOW, workspace

    workspace(home.root, documents=1)
    settle_on(home, alert_after_days=3)
    assert stale(home, NOW + 2 * DAY) is None
    assert stale(home, NOW + 4 * DAY)


def test_a_promotion_by_hand_is_an_acceptance_and_a_return_is_none(home: Home) -> None:
    list(make_workspace(home.root))
    home.record("verdict", **{**VERDICT, "verdict": "undecided"})
    home.record("alias", alias="champion", before="2", after="1", why="rollback")
    assert last_accepted(home, home.ledger()) is None
    home.record("alias", alias="champion", before="1", after="3", why="approved")
    assert last_accepted(home, home.ledger()) == datetime.fromisoformat(home.ledger()[-1]["time"])


def backdated(home: Home, time: datetime, **verdict: Any) -> None:
    with home.ledger_file.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"event": "verdict", "time": time.isoformat(), "who": "ana", **verdict}) + "\n")


SCRIPT = """
import json, os, sys
from pathlib import Path
from pipelines.edge.home import Home
from pipelines.service.announce import announce_pending
if sys.argv[2] == "save":
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    body = {"title": "{{subject}}", "message": "{{body}}"}
    CustomWebhookNotificationBlock(name="team", url=sys.argv[3], json_data=body).save("team")
else:
    print(json.dumps(announce_pending(Home(Path(sys.argv[1])))))
"""


@pytest.fixture
def prefect_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A Prefect server that asks for a password, and takes no forged requests; its address is in the environment."""
    server = prefect_server(tmp_path / "prefect")
    server.environment["PREFECT_SERVER_API_AUTH_STRING"] = f"ana:{SECRET}"
    server.environment["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] = "true"
    with running(server):
        monkeypatch.setenv("PREFECT_API_URL", f"{server.address}/api")
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", f"ana:{SECRET}")
        yield f"{server.address}/api"


def stored(api: str, number: int) -> list[dict[str, Any]]:
    """Our events that the server has, once there are so many; it writes them down in groups, some seconds later."""
    with httpx.Client(base_url=api, auth=("ana", SECRET)) as client:
        token = client.get("/csrf-token", params={"client": "test"}).json()["token"]
        client.headers.update({"Prefect-Csrf-Client": "test", "Prefect-Csrf-Token": token})
        wanted = {"filter": {"event": {"prefix": ["perennial."]}}, "limit": 50}

        def enough() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = client.post("/events/filter", json=wanted).json()["events"]
            return found if len(found) >= number else []

        return list(until(enough, f"{number} events"))


def in_a_short_process(home: Home, *words: str) -> str:
    """The process ends at once after its work: what is not on the server by then is lost."""
    command = [sys.executable, "-c", SCRIPT, str(home.root), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.pipeline
def test_prefects_server_gets_the_events_and_a_block_tells_people(
    home: Home, receiver: Receiver, prefect_api: str
) -> None:
    settle_on(home, {"block": "custom-webhook/team", "on": ["accepted"]}, {"block": "custom-webhook/none"})
    client = Registry(home).client
    client.create_registered_model("lamp")
    for weights in ("first", "second"):
        client.create_model_version("lamp", "dvc://md5/0", tags={"perennial.weights": weights})
    in_a_short_process(home, "save", f"http://{receiver.address}/{SECRET}")
    home.record("alias", alias="champion", before=None, after="1", why="accepted")
    home.record("verdict", **{**VERDICT, "verdict": "accepted", "version": "1", "parent": "base"})
    home.record("verdict", **{**VERDICT, "verdict": "accepted", "version": "2", "parent": "1"})  # a crash ate its move
    missing = {"block custom-webhook/none": "ValueError"}
    heard = {PREFECT: OK, "block custom-webhook/team": OK, **missing}
    told = json.loads(in_a_short_process(home, "tell"))
    assert [row["channels"] for row in told] == [{PREFECT: OK}, heard, heard]
    assert [got["title"] for got in receiver.got] == ["lamp: version 1 was accepted", "lamp: version 2 was accepted"]
    events = stored(prefect_api, 4)
    assert sorted(event["event"] for event in events) == [
        "perennial.champion.moved",
        "perennial.champion.moved",
        "perennial.refresh.accepted",
        "perennial.refresh.accepted",
    ]
    moves = [event["payload"] for event in events if event["event"] == "perennial.champion.moved"]
    assert {(move["before"], move["after"], move["weights"]) for move in moves} == {
        (None, "1", "first"),
        ("1", "2", "second"),
    }
    assert {move["model"] for move in moves} == {"models:/lamp@champion"}
