"""No secret is written down: planted in the environment, then looked for in every byte that a workspace holds."""

import base64
import contextlib
import gzip
import os
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
import yaml

from pipelines.edge import landing
from pipelines.edge.home import Home
from pipelines.edge.orchestration import ENVIRONMENT
from tests.pipelines.service.test_announce import Receiver, receiver  # noqa: F401
from tests.servers import free_port, until
from tests.workspaces import NOW, rows, workspace, write_rows

MAIN = "from pipelines.cli import main; main()"
TOKEN = "planted-token-0a6e21d4c7"


def planted(good: str) -> dict[str, str]:
    """An environment full of secrets; each has `planted-` in it."""
    return {
        "PERENNIAL_RECEIVER_TOKEN": TOKEN,
        "PERENNIAL_RECEIVER_HMAC": "planted-hmac-51b7c09f3e",
        "TEAM": f"json://ana:planted-team-7d2f@{good}/planted-path-91ce?+X-Key=planted-header-30ab",
        "GONE": f"json://ana:planted-gone-7d2f@127.0.0.1:{free_port()}/planted-lost-91ce",
        "POST": f"mailto://ana:planted-mail-44e0@127.0.0.1:{free_port()}?from=a@example.org&to=b@example.org&mode=insecure",
        "SLACK": "slack://planted-A1B2/planted-C3D4",  # no address that Apprise knows
        "HF_TOKEN": "hf_planted-hub-8c1d",
        "MLFLOW_TRACKING_USERNAME": "ana",
        "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-2e9a",
        "PREFECT_API_AUTH_STRING": "ana:planted-prefect-6b3f",
        "AWS_ACCESS_KEY_ID": "planted-aws-id-0d5e",
        "AWS_SECRET_ACCESS_KEY": "planted-aws-key-9f7c",
        "AWS_SESSION_TOKEN": "planted-aws-session-1a4b",
        "PGPASSWORD": "planted-postgres-c8d2",
    }


def needles(secrets: Mapping[str, str]) -> list[bytes]:
    """What to look for: the secrets, and what becomes of them in a header."""
    found = [value.encode() for value in secrets.values()]
    encoded = [base64.b64encode(value).rstrip(b"=") for value in (*found, b"ana:planted-mlflow-2e9a")]
    return [b"planted-", *encoded]


def texts(path: Path) -> Iterator[bytes]:
    """A file's bytes, and what is in it where it is compressed or a database."""
    content = path.read_bytes()
    yield content
    if content[:2] == b"\x1f\x8b":
        yield gzip.decompress(content)
    if content[:2] in {b"\x78\x9c", b"\x78\x01", b"\x78\xda"}:
        yield zlib.decompress(content)
    if content.startswith(b"SQLite format 3"):  # a long value lies in pieces, on several pages
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            connection.text_factory = lambda raw: raw.decode(errors="replace")
            for line in connection.iterdump():
                yield line.encode()


def search(root: Path, wanted: list[bytes]) -> dict[str, list[str]]:
    """The files below a folder that hold any of it: path -> what is around it."""
    found: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # what is up comes and goes
            for text in texts(path) if path.is_file() else ():
                for needle in wanted:
                    place = text.find(needle)
                    if place >= 0:
                        found.setdefault(str(path), []).append(repr(text[max(0, place - 60) : place + 60]))
    return found


def test_the_search_finds_what_is_hidden(tmp_path: Path) -> None:
    secret = b"planted-0123456789"
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "plain.log").write_bytes(b"x" * 99 + secret)
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"say " + secret))
    (tmp_path / "b").write_bytes(zlib.compress(secret))
    with sqlite3.connect(tmp_path / "c.db") as connection:
        connection.execute("CREATE TABLE t (v)")
        for size in range(0, 5000, 7):  # somewhere in there it lies over the edge of a page
            connection.execute("INSERT INTO t VALUES (?)", ("y" * size + secret.decode(),))
    (tmp_path / "header").write_bytes(b"Basic " + base64.b64encode(secret))
    found = search(tmp_path, [secret, base64.b64encode(secret)])
    assert {Path(name).name for name in found} == {"plain.log", "a.gz", "b", "c.db", "header"}


def settle_on(home: Home, **more: object) -> None:
    channels = [{"variable": name} for name in ("TEAM", "GONE", "POST", "SLACK")]
    content = {"name": "lamp", "recipe": "tiny", "notifications": channels, **more}
    (home.root / "perennial.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def perennial(home: Home, secrets: Mapping[str, str], *words: str) -> "subprocess.Popen[bytes]":
    """Start a verb, as talkative as it can be; all that it says goes into the workspace."""
    environment = {**os.environ, **ENVIRONMENT, **secrets}
    environment.pop("MLFLOW_TRACKING_URI", None) if "MLFLOW_TRACKING_URI" not in secrets else None
    with (home.hidden / "said.log").open("ab") as said:
        command = [sys.executable, "-c", MAIN, "-w", str(home.root), "-v", *words]
        return subprocess.Popen(command, stdout=said, stderr=said, env=environment)


@pytest.mark.pipeline
def test_a_refresh_writes_no_secret_anywhere(tmp_path: Path, receiver: Receiver) -> None:  # noqa: F811
    home = workspace(tmp_path / "lamp", documents=60)
    settle_on(home)
    secrets = planted(receiver.address)
    assert perennial(home, secrets, "refresh").wait(280) == 0
    assert home.ledger()[-1]["event"] == "told"
    assert len(receiver.got) == 1, "the good channel was told, so the secrets were at work"
    assert search(tmp_path, needles(secrets)) == {}
    assert [path for path in tmp_path.rglob("*") if path.is_file() and is_pickle(path)] == [], "no code from data"


def is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in {b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"}


@pytest.mark.pipeline
def test_a_server_that_cannot_be_reached_is_not_named_with_its_password(tmp_path: Path) -> None:
    home = workspace(tmp_path / "lamp", documents=60)
    settle_on(home)
    address = f"http://ana:planted-address-5c7e@127.0.0.1:{free_port()}"
    secrets = {"MLFLOW_TRACKING_URI": address, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    assert perennial(home, secrets, "refresh").wait(120) == 1
    assert search(tmp_path, [b"planted-"]) == {}


@pytest.mark.slow
@pytest.mark.pipeline
@pytest.mark.timeout(900)
def test_all_that_stays_up_writes_no_secret_anywhere(tmp_path: Path, receiver: Receiver) -> None:  # noqa: F811
    home = workspace(tmp_path / "lamp", documents=60)
    port = free_port()
    settle_on(
        home,
        receiver={"enabled": True, "port": port},
        inbox=[{"task": "types", "address": "inbox", "settle_seconds": 0}],
        triggers={"*": {"documents": 1, "quiet": "1s"}},
        schedules={"nightly": {"cron": "0 2 * * *"}},
    )
    secrets = planted(receiver.address)
    up = perennial(home, secrets, "up")
    try:
        until(lambda: receiver.got or up.poll() is not None, "the first verdict to be told", 300)
        assert up.poll() is None, "it stays up"
        late = write_rows(home.root / "inbox" / "late.jsonl", rows("types", 60, 20))
        notice = {"task": "types", "address": str(late)}
        for token in (TOKEN, "planted-wrong-token-77"):
            headers = {"Authorization": f"Bearer {token}"}
            answer = httpx.post(f"http://127.0.0.1:{port}/landed", json=notice, headers=headers)
            assert answer.status_code == (401 if "wrong" in token else 202), answer.text
        until(lambda: len(landing.batches(home.root, "types")) == 2, "the file to land")
        assert search(tmp_path, needles(secrets)) == {}
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(120)
    assert search(tmp_path, needles(secrets)) == {}


def test_a_pickle_that_is_called_text_is_set_aside(tmp_path: Path) -> None:
    """Landing copies bytes; reading them never unpickles, and says what it found."""
    import pickle

    from tests.workspaces import run

    home = workspace(tmp_path / "lamp", documents=60)
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(pickle.dumps({"text": "hello", "key": "a", "call": os.getcwd}))
    landing.land(home.root, "types", [bad], now=NOW)
    row = next(row for row in run(home).rows if row.task == "types")
    assert sum(row.quarantined.values()) >= 1
    assert row.landed == row.kept + row.held_out + sum(row.dropped.values()) + sum(row.quarantined.values())
