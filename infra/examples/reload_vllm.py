"""Keeps a vLLM server on the champion: when perennial moves it, the server is restarted with the new weights.

    python reload_vllm.py --model NAME --link /srv/llm/champion --prefect http://127.0.0.1:4200/api

The server runs with `vllm serve /srv/llm/champion --load-format safetensors`; the link always points to a folder of
weights that was checked. If the server does not come back healthy with the new ones, the link and the server go back
to the old ones. Needs httpx and mlflow; imports nothing of perennial. See docs/serving.md.
"""

import argparse
import json
import logging
import os
import shlex
import struct
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import httpx
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

logger = logging.getLogger("reload_vllm")
EVENT = "perennial.champion.moved"
WEIGHTS = "artifacts/model"  # inside a registered version: what vLLM loads
UNSAFE = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py"}
LOOK_ANYWAY_SECONDS = 300.0  # an event may be missed; the registry knows
MAX_HEADER_BYTES = 100_000_000
ME = str(uuid.uuid4())


@dataclass(frozen=True)
class Options:
    """What to watch, what to switch, how to restart."""

    model: str
    link: Path
    mlflow: str
    prefect: str | None
    restart: str
    health: str
    wait: float
    every: float
    cache: Path


def main(arguments: list[str] | None = None) -> int:
    """Watch until ended; with `--once`, look once. Returns 0, or 1 if the champion could not be served."""
    parser = argparse.ArgumentParser(description="Keep a vLLM server on perennial's champion.")
    parser.add_argument("--model", required=True, help="the registered model: `name:` of perennial.yaml")
    parser.add_argument("--link", required=True, type=Path, help="the link that vLLM serves; made if it is missing")
    parser.add_argument("--mlflow", default=os.environ.get("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000"))
    parser.add_argument("--prefect", help="its API: be woken by its events; without it MLflow is asked each time")
    parser.add_argument("--restart", default="systemctl --user restart vllm", help="returns once the old one has ended")
    parser.add_argument("--health", default="http://127.0.0.1:8000/health")
    parser.add_argument("--wait", type=float, default=600.0, help="seconds for the server to become healthy")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two looks")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/perennial-served").expanduser())
    parser.add_argument("--once", action="store_true", help="look once and end")
    given = vars(parser.parse_args(arguments))
    once = given.pop("once")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    options = Options(**given)
    return 0 if watch(options, once=once) else 1


def watch(options: Options, *, once: bool) -> bool:
    """Serve the champion, and again whenever it moves; what is away for a while is tried again."""
    failed: Path | None = None  # weights that the server does not run with: not again before the champion moves
    heard, looked = "", -LOOK_ANYWAY_SECONDS
    while True:
        try:
            if once:
                return serve(options, champion(options))
            newest = last_move(options) if options.prefect else ""
            overdue = time.monotonic() - looked >= LOOK_ANYWAY_SECONDS
            if not options.prefect or newest != heard or overdue:
                folder = champion(options)
                if folder != failed:
                    failed = None if serve(options, folder) else folder
                heard, looked = newest, time.monotonic()
        except (httpx.HTTPError, MlflowException, OSError, ValueError) as error:
            if once:
                logger.error("%s: %s", type(error).__name__, error)
                return False
            logger.warning("%s: %s; tried again in %.0f s", type(error).__name__, error, options.every)
        time.sleep(options.every)


def last_move(options: Options) -> str:
    """The last move of the champion that Prefect heard of; no clock is compared with another."""
    user, _, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    wanted = {"event": {"name": [EVENT]}, "resource": {"id": [f"perennial.{options.model}"]}}
    with httpx.Client(auth=(user, password) if user else None, timeout=30.0) as client:
        answer = client.get(f"{options.prefect}/csrf-token", params={"client": ME})
        if answer.status_code == 200:  # a server that takes requests of its own pages and clients only
            client.headers.update({"Prefect-Csrf-Client": ME, "Prefect-Csrf-Token": answer.json()["token"]})
        answer = client.post(f"{options.prefect}/events/filter", json={"filter": wanted, "limit": 1})
    events: list[dict[str, Any]] = answer.raise_for_status().json()["events"]
    return str(events[0]["id"]) if events else ""


def champion(options: Options) -> Path | None:
    """The folder of the champion's weights on this machine; none before the first acceptance.

    Raises:
        ValueError: what is there is not a folder of safetensors.
    """
    client = MlflowClient(options.mlflow)
    try:
        version = client.get_model_version_by_alias(options.model, "champion")
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return None
        raise
    model_id = str(version.source).removeprefix("models:/")
    place = urlparse(client.get_logged_model(model_id).artifact_location)
    local = place.scheme in {"", "file"}
    folder = Path(url2pathname(place.path)) / WEIGHTS if local else fetched(options, model_id)
    check(folder)
    return folder.resolve()


def fetched(options: Options, model_id: str) -> Path:
    """The weights of a version whose registry keeps them elsewhere; fetched once, there whole or not at all."""
    folder = options.cache / model_id
    if not folder.exists():
        partial = folder.with_name(f".{model_id}.{os.getpid()}.partial")
        partial.mkdir(parents=True)
        download_artifacts(artifact_uri=f"models:/{model_id}", dst_path=str(partial), tracking_uri=options.mlflow)
        partial.rename(folder)
    return folder / WEIGHTS


def check(folder: Path) -> None:
    """Let nothing through that can run code, or that is cut short.

    Raises:
        ValueError: it is not a folder of config.json and whole safetensors, and nothing else that is loaded.
    """
    files = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    weights = [path for path in files if path.suffix == ".safetensors"]
    if not weights or not (folder / "config.json").is_file():
        raise ValueError(f"{folder}: wanted config.json and *.safetensors; the server is left as it is")
    if unsafe := sorted(path.name for path in files if path.suffix in UNSAFE):
        raise ValueError(f"{folder}: {', '.join(unsafe)} may run code when it is read; the server is left as it is")
    if "auto_map" in json.loads((folder / "config.json").read_text(encoding="utf-8")):
        raise ValueError(f"{folder}: its config.json names code of its own (auto_map); the server is left as it is")
    for path in weights:
        if header_and_data_bytes(path) != path.stat().st_size:
            raise ValueError(f"{path}: cut short or no safetensors; the server is left as it is")


def header_and_data_bytes(path: Path) -> int:
    """How long a safetensors file says that it is; -1 if it cannot be one."""
    with path.open("rb") as file:
        start = file.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else MAX_HEADER_BYTES + 1
        if size > MAX_HEADER_BYTES:
            return -1
        try:
            header: dict[str, Any] = json.loads(file.read(size))
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return -1
    return 8 + int(size) + max(ends, default=0)


def serve(options: Options, folder: Path | None) -> bool:
    """Point the link at these weights and restart the server; back to the old ones if it does not run with them."""
    before = options.link.resolve() if options.link.is_symlink() else None
    if folder is None or (before == folder and healthy(options, 0.0)):
        return True
    point(options.link, folder)
    if restart(options):
        logger.info("served: %s", folder)
        return True
    if before is None or before == folder or not before.exists():
        logger.error("%s: the server is not healthy, and there are no older weights to go back to", folder)
        return False
    point(options.link, before)
    back = "the server is back on the old ones" if restart(options) else "nor with the old ones: see to it"
    logger.error("%s: the server did not become healthy with these weights; %s: %s", folder, back, before)
    return False


def point(link: Path, folder: Path) -> None:
    """Let a link point elsewhere at one moment; whoever opens it finds the old folder or the new one."""
    link.parent.mkdir(parents=True, exist_ok=True)
    new = link.with_name(f".{link.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(folder)
    new.replace(link)


def restart(options: Options) -> bool:
    """Restart the server, and say whether it is healthy in time."""
    try:
        subprocess.run(shlex.split(options.restart), timeout=options.wait, check=True)  # noqa: S603 - the operator's own
    except subprocess.SubprocessError as error:
        logger.error("%s", error)
        return False
    return healthy(options, options.wait)


def healthy(options: Options, seconds: float) -> bool:
    """Whether the server says that it is well, within so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if httpx.get(options.health, timeout=5.0).status_code == 200:
                return True
        except httpx.HTTPError:
            pass
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
