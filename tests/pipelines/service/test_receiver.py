import asyncio
import hashlib
import hmac
import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipelines.edge.home import Home
from pipelines.service.inbox import Inboxes
from pipelines.service.receiver import make_app, receiving
from tests.pipelines.service.watched import put, until, workspace

TOKEN = "token-of-the-receiver-1234"
KEY = "key-for-signatures-5678-5678"
NOTICE = {"task": "docs", "address": "inbox/a.txt"}
Taken = list[tuple[str, str]]
Send = Callable[..., httpx.Response]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERENNIAL_RECEIVER_TOKEN", TOKEN)
        patch.setenv("PERENNIAL_RECEIVER_HMAC", KEY)
        receiver = {"enabled": True, "port": free_port(), "max_bytes": 1000}
        yield workspace(tmp_path_factory.mktemp("home"), receiver=receiver)


@pytest.fixture(scope="module")
def running(home: Home) -> Iterator[Taken]:
    """What the running receiver has handed on: what an inbox of the task holds."""
    inboxes = Inboxes(home)
    handed_on: Taken = []

    def take(task: str, address: str) -> bool:
        holding = bool(inboxes.holding(task, address))
        if holding:
            handed_on.append((task, address))
        return holding

    with receiving(home, take):
        yield handed_on


@pytest.fixture
def taken(running: Taken) -> Taken:
    """The same, of one test."""
    running.clear()
    return running


@pytest.fixture
def send(home: Home, taken: Taken) -> Iterator[Send]:
    port = home.settings.receiver.port
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:

        def send(content: Any = NOTICE, *, path: str = "/landed", how: str = "POST", **headers: str) -> httpx.Response:
            raw = content if isinstance(content, bytes | Iterator) else json.dumps(content).encode()
            given = {"content_type": "application/json", "authorization": f"Bearer {TOKEN}"} | headers
            encoded = {name.replace("_", "-"): value.encode("latin-1") for name, value in given.items() if value}
            return client.request(how, path, content=raw, headers=encoded)

        yield send


def signed(body: bytes, moment: float | None = None, key: str = KEY) -> dict[str, str]:
    stamp = str(int(time.time() if moment is None else moment))
    digest = hmac.new(key.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"authorization": "", "x_perennial_timestamp": stamp, "x_perennial_signature": f"sha256={digest}"}


def test_a_notice_with_the_token_is_handed_on(send: Send, taken: Taken) -> None:
    answer = send()
    assert (answer.status_code, answer.json()) == (202, {"task": "docs", "accepted": True})
    assert taken == [("docs", "inbox/a.txt")]


def test_a_notice_with_a_signature_is_handed_on(send: Send, taken: Taken) -> None:
    body = json.dumps(NOTICE).encode()
    assert send(body, **signed(body)).status_code == 202
    assert taken == [("docs", "inbox/a.txt")]


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": TOKEN},
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer \xe9\xe8"},
    ],
)
def test_without_the_token_nothing_is_handed_on(send: Send, taken: Taken, headers: dict[str, str]) -> None:
    answer = send(**headers)
    assert (answer.status_code, taken) == (401, [])
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("off_seconds", [-400, 400, -1e9, 1e10])
def test_an_old_signature_or_one_from_the_future_is_refused(send: Send, taken: Taken, off_seconds: float) -> None:
    body = json.dumps(NOTICE).encode()
    assert send(body, **signed(body, time.time() + off_seconds)).status_code == 401
    assert taken == []


@pytest.mark.parametrize(
    "change",
    [
        {"x_perennial_timestamp": ""},
        {"x_perennial_signature": ""},
        {"x_perennial_signature": "sha256="},
        {"x_perennial_timestamp": str(int(time.time()) + 7)},
        {"x_perennial_timestamp": "1e9"},
        {"x_perennial_timestamp": "-1"},
        {"x_perennial_timestamp": "\xb2"},
        signed(json.dumps(NOTICE).encode(), key="another key of some length"),
        signed(b"another body"),
    ],
)
def test_a_signature_of_something_else_is_refused(send: Send, taken: Taken, change: dict[str, str]) -> None:
    body = json.dumps(NOTICE).encode()
    assert send(body, **(signed(body) | change)).status_code == 401
    assert taken == []


@pytest.mark.parametrize("stated", [True, False])
def test_a_long_body_is_refused_whether_its_length_is_stated_or_not(send: Send, taken: Taken, stated: bool) -> None:
    long = {**NOTICE, "address": "inbox/" + "a" * 5000}
    body = json.dumps(long).encode()
    assert send(body if stated else iter([body[:500], body[500:]])).status_code == 413
    assert send(iter([json.dumps(NOTICE).encode()])).status_code == 202
    assert taken == [("docs", "inbox/a.txt")]


def test_a_stated_length_that_is_a_lie_or_nonsense_is_refused(home: Home, taken: Taken) -> None:
    for stated in ("99999999999", "9" * 5000, "-1", "x"):
        with socket.create_connection(("127.0.0.1", home.settings.receiver.port), timeout=20) as line:
            line.sendall(f"POST /landed HTTP/1.1\r\nHost: a\r\nContent-Length: {stated}\r\n\r\n".encode())
            assert line.recv(100).split()[1] in {b"400", b"413"}
    assert taken == []


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_another_content_type_is_refused(send: Send, taken: Taken, kind: str) -> None:
    assert (send(content_type=kind).status_code, taken) == (415, [])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"null",
        b"3",
        b"[" * 900,
        b'{"task": "docs"}',
        b'{"address": "inbox/a.txt"}',
        b'{"task": "docs", "address": "inbox/a.txt", "pattern": "*"}',
        b'{"task": "docs", "address": ["inbox/a.txt"]}',
        b'{"task": 3, "address": "inbox/a.txt"}',
        b'{"task": "docs", "address": ""}',
        b'{"task": "docs", "address": null}',
        b'{"task": "docs", "address": "\\ud83d"}',
    ],
)
def test_another_body_is_refused_with_what_was_wanted(send: Send, taken: Taken, body: bytes) -> None:
    answer = send(body)
    assert (answer.status_code, taken) == (422, [])
    assert '"task": "a task", "address"' in answer.json()["error"]


def test_an_unknown_task_is_not_found(send: Send, taken: Taken) -> None:
    assert (send({**NOTICE, "task": "novel"}).status_code, taken) == (404, [])


@pytest.mark.parametrize(
    "notice",
    [
        {"task": "mail"},
        {"address": "http://169.254.169.254/latest"},
        {"address": "file:///etc/passwd"},
        {"address": "/etc/passwd"},
        {"address": "inbox/../../etc/passwd"},
        {"address": "inbox/%2e%2e/data"},
        {"address": "s3://inbox/a.txt"},
        {"address": "inbox\0"},
    ],
)
def test_an_address_under_no_inbox_of_the_task_is_forbidden(send: Send, taken: Taken, notice: dict[str, str]) -> None:
    assert send({**NOTICE, **notice}).status_code == 403
    assert taken == []


def test_other_paths_and_methods_are_none(send: Send, taken: Taken) -> None:
    assert send(how="GET", content=b"").status_code == 405
    assert send(path="/").status_code == 404
    assert send(path="/landed/../data").status_code == 404
    assert taken == []


def test_health_is_told_to_anybody_and_tells_no_secret(send: Send) -> None:
    answer = send(b"", path="/health", how="GET", authorization="")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert "server" not in answer.headers


def test_a_workspace_that_cannot_be_read_is_the_servers_fault(home: Home, send: Send, taken: Taken) -> None:
    (home.root / "data/tasks.yaml").write_text("[")
    answer = send()
    workspace(home.root, receiver=home.settings.receiver.model_dump())
    assert (answer.status_code, taken) == (500, [])
    assert str(home.root) not in answer.text


def test_nothing_secret_and_no_address_is_logged(send: Send, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        body = json.dumps(NOTICE).encode()
        secret = signed(body)
        send()
        send(body, **secret)
        send(authorization="Bearer planted-secret-of-another")
        send({**NOTICE, "address": "s3://bucket/planted-secret"})
        send(b"planted-secret")
    ours = "\n".join(r.getMessage() for r in caplog.records if not r.name.startswith(("httpx", "httpcore")))
    assert "a notice for docs: its inbox is looked at" in ours
    for word in (TOKEN, KEY, secret["x_perennial_signature"], "planted-secret"):
        assert word not in ours


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_without_a_secret_it_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.delenv("PERENNIAL_RECEIVER_TOKEN", raising=False)
    monkeypatch.setenv("PERENNIAL_RECEIVER_HMAC", " ")
    home = workspace(tmp_path, receiver={"enabled": True, "host": host})
    with pytest.raises(ValueError, match=r"PERENNIAL_RECEIVER_TOKEN .* or PERENNIAL_RECEIVER_HMAC"):
        make_app(home, lambda _, __: True)


def test_a_secret_that_can_be_guessed_is_refused_and_not_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERENNIAL_RECEIVER_HMAC", "guess-me")
    with pytest.raises(ValueError, match=r"PERENNIAL_RECEIVER_HMAC: wanted .* found 8") as refusal:
        make_app(home, lambda _, __: True)
    assert "guess-me" not in str(refusal.value)


def test_the_token_alone_lets_no_signature_in(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERENNIAL_RECEIVER_HMAC")
    app = make_app(home, lambda _, __: True)
    body = json.dumps(NOTICE).encode()

    async def post() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            headers = {name.replace("_", "-"): value for name, value in signed(body, key="").items()}
            return (await client.post("/landed", content=body, headers=headers)).status_code

    assert asyncio.run(post()) == 401


def test_a_taken_port_is_said_and_nothing_is_left_open(home: Home, taken: Taken) -> None:
    with (
        pytest.raises(OSError, match=r"receiver: cannot listen on 127.0.0.1 port \d+ .*set receiver.port"),
        ExitStack() as stack,
    ):
        stack.enter_context(receiving(home, lambda _, __: True))


def test_it_can_be_started_again_at_once_on_the_same_port(tmp_path: Path, home: Home) -> None:
    home = workspace(tmp_path, receiver={"enabled": True, "port": free_port()})
    for _ in range(3):
        with receiving(home, lambda _, __: True) as address:
            assert httpx.post(address, json=NOTICE, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 202


SERVE = """
import sys, threading
from pathlib import Path
from pipelines.edge.home import Home
from pipelines.service.inbox import Inboxes
from pipelines.service.lookout import Lookout
from pipelines.service.receiver import receiving
home = Home(Path(sys.argv[1]))
lookout = Lookout(Inboxes(home))
with receiving(home, lookout.take):
    for _ in lookout.scans(threading.Event()):
        pass
"""


@pytest.mark.slow
def test_a_thousand_notices_at_once_are_answered_and_the_file_lands_once(tmp_path: Path, home: Home) -> None:
    home = workspace(tmp_path, receiver={"enabled": True, "port": free_port()})
    put(home.root, "inbox/a.txt", "one")
    with (home.root / "child.log").open("ab") as log:
        server = subprocess.Popen([sys.executable, "-c", SERVE, str(home.root)], stdout=log, stderr=log)
    address = f"http://127.0.0.1:{home.settings.receiver.port}"

    def healthy() -> bool:
        try:
            return httpx.get(f"{address}/health", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    body = json.dumps(NOTICE)
    head = f"POST /landed HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nAuthorization: Bearer {TOKEN}\r\n"
    raw = f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()

    async def post() -> bytes:
        reading, writing = await asyncio.open_connection("127.0.0.1", home.settings.receiver.port)
        writing.write(raw)
        answer = await reading.read()
        writing.close()
        return answer.split()[1]

    async def flood() -> list[bytes]:
        return await asyncio.gather(*(post() for _ in range(1000)))

    try:
        until(healthy)
        answers = asyncio.run(flood())
        assert answers == [b"202"] * 1000
        until(healthy)
        assert len(list((home.root / "data/landing/docs").glob("0*"))) == 1
    finally:
        server.kill()
        server.wait()
    assert "Traceback" not in (home.root / "child.log").read_text()
