"""Servers are found where they are; ports that are taken are passed over."""

import os
import socket
from pathlib import Path

import psutil
import pytest

from pipelines.edge.home import Home
from pipelines.service.addresses import free_port, is_loopback, service, state_file, use_servers
from steps.core.shards import write_json


def write_state(home: Home, created: float) -> None:
    addresses = {"prefect_api": "http://127.0.0.1:1/api", "mlflow": "http://127.0.0.1:2"}
    write_json(state_file(home), {"pid": os.getpid(), "created": created, "addresses": addresses, "parts": {}})


def test_a_service_that_was_killed_is_not_up(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert service(home) is None
    write_state(home, psutil.Process().create_time() - 100)
    assert service(home) is None
    write_state(home, psutil.Process().create_time())
    assert service(home)
    for damaged in ("{", "[7]", "{}"):
        state_file(home).write_text(damaged, encoding="utf-8")
        assert service(home) is None


def test_the_environment_comes_first_then_what_is_up_then_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "perennial.yaml").write_text("servers: {mlflow: 'http://there:5000', prefect: 'http://there/api'}")
    home = Home(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", "http://chosen/api")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "x")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    use_servers(home)
    assert os.environ["PREFECT_API_URL"] == "http://chosen/api"
    assert os.environ.pop("MLFLOW_TRACKING_URI") == "http://there:5000"
    write_state(home, psutil.Process().create_time())
    use_servers(home)
    assert os.environ.pop("MLFLOW_TRACKING_URI") == "http://127.0.0.1:2"


def test_a_taken_port_leads_to_the_next() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < free_port("127.0.0.1", port) < port + 50


def test_only_this_machine_is_loopback() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "10.0.0.1")] == [
        True,
        True,
        True,
        False,
        False,
    ]
