"""`perennial up` for real: everything comes up, landed data becomes a version, what dies comes back, all of it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from pipelines.edge.attempts import running
from pipelines.edge.home import Busy, Home
from pipelines.service.addresses import service, state_file
from pipelines.service.supervisor import Part, Supervisor, down, end, end_leftovers, tail
from tests.command_line import perennial
from tests.servers import until
from tests.workspaces import land_rows, rows, workspace, write_rows

SETTINGS = {
    "recipe": "tiny",
    "threads": 1,
    "triggers": {"*": {"documents": 1, "quiet": "1s"}},
    "inbox": [{"task": "types", "address": "inbox/types"}],
    "schedules": {"yearly": {"cron": "0 0 1 1 *"}},
    "servers": {"prefect_port": 4400, "mlflow_port": 5400},
}
PARTS = ["deployments", "mlflow", "prefect", "watcher"]


def configured(folder: Path, name: str, **changes: Any) -> Home:
    home = workspace(folder, documents=60)
    content = {**SETTINGS, "name": name, **changes}
    (home.root / "perennial.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = configured(tmp_path / "w", "served")
    yield home
    down(home)


def status(home: Home) -> dict[str, Any]:
    ran = perennial("-w", str(home.root), "status", "--json")
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def verdicts(home: Home) -> list[tuple[str, str]]:
    return [(event["verdict"], event["version"]) for event in home.ledger() if event["event"] == "verdict"]


def logs(home: Home) -> str:
    return "\n".join(tail(path, 15) for path in (home.hidden / "service" / "logs").glob("*.log"))


def started(home: Home) -> dict[str, Any]:
    ran = perennial("-w", str(home.root), "up", "--detach")
    assert ran.returncode == 0, ran.stderr
    found = service(home)
    assert found
    return found


@pytest.mark.pipeline
@pytest.mark.timeout(600)
def test_up_lands_refreshes_comes_back_and_ends(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 5400))
        taken.listen()
        up = started(home)
    assert sorted(up["parts"]) == PARTS
    assert up["addresses"]["mlflow"] != "http://127.0.0.1:5400", "the port was taken"
    page = {"Origin": "https://elsewhere.example"}  # open in a browser on this machine
    forged = httpx.post(f"{up['addresses']['prefect_api']}/flows/", content=b'{"name": "forged"}', headers=page)
    assert forged.status_code == 403
    assert "access-control-allow-origin" not in forged.headers
    until(lambda: verdicts(home) == [("accepted", "1")], f"the landed batches start a refresh: {logs(home)}")
    write_rows(home.root / "inbox/types/new.jsonl", rows("types", 60, 40))
    until(lambda: len(verdicts(home)) == 2, f"a file in the inbox starts the next: {logs(home)}")

    again = perennial("-w", str(home.root), "up")
    assert again.returncode == 1
    assert "up already" in again.stderr
    found = status(home)
    assert found["champion"] == verdicts(home)[-1][1]
    assert [row["cause"] for row in found["last"]] == ["landing", "landing"]
    assert found["next"].startswith("20")
    assert found["next"][4:10] == "-01-01"
    assert perennial("-w", str(home.root), "pause", "yearly").returncode == 0
    assert status(home)["schedules"] == {"yearly": "paused"}
    assert perennial("-w", str(home.root), "resume", "yearly").returncode == 0

    for name in PARTS:
        os.kill(up["parts"][name]["pid"], signal.SIGKILL)
    until(lambda: _parts_changed(home, up), f"what was killed is started again: {logs(home)}")
    land_rows(home, "statements", rows("statements", 60, 40))
    until(lambda: len(verdicts(home)) == 3, f"and it still works: {logs(home)}")

    everything = psutil.Process(up["pid"]).children(recursive=True)
    assert perennial("-w", str(home.root), "down").returncode == 0
    assert service(home) is None
    assert [process for process in everything if process.is_running()] == []


def _parts_changed(home: Home, before: dict[str, Any]) -> bool:
    now = service(home)
    assert now
    changed = all(now["parts"][name]["pid"] != before["parts"][name]["pid"] for name in PARTS)
    return changed and all(_answers(now["addresses"][name] + "/health") for name in ("prefect_api", "mlflow"))


def _answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_workspaces_share_one_pair_of_servers(home: Home, tmp_path: Path) -> None:
    addresses = started(home)["addresses"]
    servers = {"prefect": addresses["prefect_api"], "mlflow": addresses["mlflow"]}
    other = configured(tmp_path / "other", "guest", servers=servers)
    try:
        assert sorted(started(other)["parts"]) == ["deployments", "watcher"]
        until(lambda: verdicts(home) and verdicts(other), f"both refresh: {logs(home)} {logs(other)}", 240)
        assert status(home)["champion"] == status(other)["champion"] == "1"
        until(lambda: status(home)["running"] is None and status(other)["running"] is None, "both are done")
        weights = [next((one.root / ".perennial/mlflow").rglob("*.safetensors")) for one in (home, other)]
        assert len(set(weights)) == 2, "each keeps its weights in its own workspace"
        land_rows(other, "types", rows("types", 60, 40))
        until(lambda: len(verdicts(other)) == 2, f"a landing of one starts its own refresh: {logs(other)}", 240)
        assert len(verdicts(home)) == 1
        down(other)
        assert service(home), "the guest leaves, the servers stay"
    finally:
        down(other)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ctrl_c_ends_everything_and_a_refresh_under_way_goes_on_at_the_next_start(home: Home, tmp_path: Path) -> None:
    script = "from pipelines.cli import main; main()"
    with (tmp_path / "told").open("wb") as told:
        process = subprocess.Popen([sys.executable, "-c", script, "-w", str(home.root), "up"], stdout=told, stderr=told)
    until(lambda: process.poll() is not None or (running(home) or {}).get("stage") == "train", "it trains")
    everything = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0, (tmp_path / "told").read_text()
    assert [one for one in everything if one.is_running()] == []
    assert verdicts(home) == []
    assert home.ledger()[-1]["event"] == "stopped"
    started(home)
    until(lambda: verdicts(home) == [("accepted", "1")], f"it goes on: {logs(home)}", 240)


def test_a_supervisor_that_was_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    home = Home(tmp_path)
    supervisor = Supervisor(home, lambda line: None)
    part = Part("mlflow", [sys.executable, "-c", "import time; time.sleep(600)"])
    supervisor._start(part)
    assert part.process
    assert end_leftovers(home) == 1
    assert part.process.poll() is not None
    assert end_leftovers(home) == 0


def test_a_part_that_does_not_come_up_shows_the_end_of_its_log(tmp_path: Path) -> None:
    supervisor = Supervisor(Home(tmp_path), lambda line: None)
    part = Part("mlflow", [sys.executable, "-c", "raise SystemExit('no such database')"], health="http://127.0.0.1:9/")
    supervisor._start(part)
    with pytest.raises(RuntimeError, match="no such database"):
        supervisor._wait_until_healthy(part)


def test_a_damaged_state_is_written_again_and_a_disk_that_takes_nothing_ends_nothing(tmp_path: Path) -> None:
    told: list[str] = []
    home = Home(tmp_path)
    supervisor = Supervisor(home, told.append)
    part = Part("watcher", [sys.executable, "-c", "import time; time.sleep(600)"])
    supervisor._start(part)
    try:
        state_file(home).write_text("{", encoding="utf-8")
        supervisor._watch()
        assert service(home)
        state_file(home).unlink()
        state_file(home).mkdir()  # as good as a full disk: it cannot be written
        supervisor._write()
        supervisor._watch()
        assert len(told) == 1, told
        state_file(home).rmdir()
        supervisor._watch()
        assert service(home)
    finally:
        end(part.process)


def test_only_one_supervisor_has_a_workspace(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first, second = Supervisor(home, lambda line: None), Supervisor(home, lambda line: None)
    with first._alone(), pytest.raises(Busy, match="up already"), second._alone():
        pass
