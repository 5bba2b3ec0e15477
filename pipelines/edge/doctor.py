"""What this machine and workspace need, checked."""

import os
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from pipelines.edge.home import Home
from steps.core.artifacts import Frozen


class Check(Frozen):
    """One thing that was looked at."""

    name: str
    good: bool
    found: str
    advice: str = ""


def examine(home: Home) -> list[Check]:
    """All checks, none of which changes anything."""
    return list(_checks(home))


def _checks(home: Home) -> Iterator[Check]:
    import psutil

    yield Check(name="Python", good=sys.version_info >= (3, 11), found=sys.version.split()[0], advice="3.11 or newer")
    yield _pinned("fastapi", (0, 151), "Prefect 3.8 cannot start a flow with 0.151 or newer")
    yield _pinned("sqlalchemy", (2, 1), "Prefect 3.8's schedules never create a run with 2.1 or newer")
    import torch

    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"
    yield Check(name="device", good=True, found=f"{device}, torch {torch.__version__}")
    memory = psutil.virtual_memory().available / 1e9
    yield Check(name="memory", good=memory > 4, found=f"{memory:.1f} GB free", advice="4 GB for the main job")
    disk = shutil.disk_usage(home.root).free / 1e9
    yield Check(name="disk", good=disk > 4, found=f"{disk:.1f} GB free", advice="4 GB for the main job")
    yield Check(
        name="git", good=shutil.which("git") is not None, found=shutil.which("git") or "none", advice="optional"
    )
    address = os.environ.get("MLFLOW_TRACKING_URI") or "in the workspace (SQLite)"
    yield Check(name="MLflow", good=True, found=address, advice="MLFLOW_TRACKING_URI names a server")
    server = os.environ.get("PREFECT_API_URL") or "embedded"
    yield Check(name="Prefect", good=True, found=server, advice="PREFECT_API_URL names a server")
    try:
        found, good = f"recipe {home.settings.recipe}, retention {home.settings.retention.accepted} accepted", True
    except ValueError as error:
        found, good = str(error), False
    yield Check(name="perennial.yaml", good=good, found=found)
    from pipelines.edge.landing import load_tasks

    try:
        tasks = load_tasks(home.root)
        good, found = any(facts.role == "train" for facts in tasks.values()), ", ".join(tasks)
    except ValueError as error:
        good, found = False, str(error)
    yield Check(name="tasks", good=good, found=found, advice="data/tasks.yaml needs a task of role train")


def _pinned(name: str, below: tuple[int, int], advice: str) -> Check:
    try:
        found = version(name)
    except PackageNotFoundError:
        return Check(name=name, good=False, found="not installed", advice="run make setup")
    numbers = tuple(int(part) for part in found.split(".")[:2])
    return Check(name=name, good=numbers < below, found=found, advice=advice)
