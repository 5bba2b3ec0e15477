"""Verbs of what stays up: the servers, the schedules, the watcher."""

import os
import sys
from typing import Annotated

import typer

from pipelines.commands.common import open_home, out


def ui(port: Annotated[int, typer.Option(help="A free port on this machine.")] = 5000) -> None:
    """Open the MLflow UI on this machine: runs, plots, versions."""
    from pipelines.edge.registry import experiment_id, use_tracking

    home = open_home()
    address = use_tracking(home)
    if address.startswith("http"):
        out.print(f"{address} (MLFLOW_TRACKING_URI)")
        return
    experiment_id(home)
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    out.print(f"http://127.0.0.1:{port} (Ctrl-C ends it)")
    words = [
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        address,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    os.execv(sys.executable, [sys.executable, *words])  # noqa: S606
