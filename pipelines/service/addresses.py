"""Where a workspace's servers are: those that `perennial up` started, or those that `perennial.yaml` names."""

import json
import os
import socket
from pathlib import Path
from typing import Any

from pipelines.edge.attempts import alive
from pipelines.edge.home import Home

PORTS_TRIED = 50


def state_file(home: Home) -> Path:
    """Who is up, where: written by the supervisor, gone once it has ended."""
    return home.hidden / "service" / "state.json"


def service(home: Home) -> dict[str, Any] | None:
    """What `perennial up` runs now: pid, created, addresses, parts; none if it is not up."""
    found = left_over(home)
    return found if found and alive(found["pid"], found["created"]) else None


def left_over(home: Home) -> dict[str, Any] | None:
    """What the last `perennial up` wrote down, whether it lives or was killed."""
    try:
        found = json.loads(state_file(home).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    whole = isinstance(found, dict) and {"pid", "created", "addresses", "parts"} <= found.keys()
    return found if whole else None  # a damaged one says nothing; the supervisor writes it again


def use_servers(home: Home) -> None:
    """Let this process talk to the workspace's servers; an address in the environment comes first."""
    up = service(home)
    addresses = up["addresses"] if up else {}
    settings = home.settings.servers
    for variable, address in (
        ("PREFECT_API_URL", addresses.get("prefect_api") or settings.prefect),
        ("MLFLOW_TRACKING_URI", addresses.get("mlflow") or settings.mlflow),
    ):
        if address:
            os.environ.setdefault(variable, address)


def free_port(host: str, first: int) -> int:
    """The first free port from a number on.

    Raises:
        OSError: none of the next fifty is free.
    """
    for port in range(first, min(first + PORTS_TRIED, 65536)):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError(
        f"{host}: no free port from {first} to {first + PORTS_TRIED - 1}; "
        "free one, or set servers.prefect_port and servers.mlflow_port in perennial.yaml"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    return host in {"localhost", "::1"} or host.startswith("127.")
