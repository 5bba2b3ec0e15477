"""Verbs of what stays up: the servers, the schedules, the watcher."""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.commands.common import Json, Wait, err, open_home, out, show
from pipelines.progress import progress_bars

if TYPE_CHECKING:
    from pipelines.edge.home import Home
    from pipelines.service.backup import Summary

SHOWN = {"prefect": "Prefect: runs, schedules, events", "mlflow": "MLflow: runs, plots, versions"}


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Stay up in the background.")] = False,
) -> None:
    """Start both servers, the schedules and the watcher on this machine; Ctrl-C ends them all."""
    from pipelines.service.supervisor import Supervisor

    home = open_home()
    for variable in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        os.environ.pop(variable, None)  # perennial.yaml says which servers are there; the others start here
    if detach:
        _in_background(home)
        return
    supervisor = Supervisor(home, lambda line: err.print(line, highlight=False))
    supervisor.when_ready = lambda: _show_addresses(supervisor.addresses, "Ctrl-C ends everything")
    supervisor.run()


def _in_background(home: "Home") -> None:
    import subprocess

    from pipelines.service.addresses import service
    from pipelines.service.supervisor import HEALTHY_WITHIN_SECONDS, tail

    log = home.hidden / "service" / "logs" / "supervisor.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        words = [sys.executable, "-m", "pipelines.service.supervisor", str(home.root)]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)  # noqa: S603
    deadline = time.monotonic() + HEALTHY_WITHIN_SECONDS
    with err.status("starting the servers"):
        while time.monotonic() < deadline:
            found = service(home)
            if found and found["ready"]:
                _show_addresses(found["addresses"], "`perennial down` ends everything")
                return
            if process.poll() is not None:
                break
            time.sleep(0.2)
    raise RuntimeError(f"it did not come up; the end of {log}:\n{tail(log, 10)}")


def _show_addresses(addresses: Mapping[str, Any], end: str) -> None:
    for name, text in SHOWN.items():
        out.print(f"{text:<34} {addresses[name]}", highlight=False)
    if "receiver" in addresses:
        out.print(f"{'receiver: POST /landed':<34} {addresses['receiver']}", highlight=False)
    out.print(f"up; {end}", style="green", highlight=False)


def down() -> None:
    """End what `perennial up` started; a refresh under way ends after its next checkpoint."""
    from pipelines.service.supervisor import down as end_all

    home = open_home()
    with err.status("ending"):
        was_up = end_all(home)
    out.print("down" if was_up else "it was not up")


def logs(
    part: Annotated[str | None, typer.Argument(help="prefect, mlflow, deployments, watcher or supervisor.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay, and show what is added.")] = False,
) -> None:
    """The last lines of what the servers, the schedules and the watcher wrote."""
    from pipelines.service.supervisor import tail

    folder = open_home().hidden / "service" / "logs"
    found = {path.stem: path for path in sorted(folder.glob("*.log"))}
    if part is not None and part not in found:
        raise typer.BadParameter(f"no log of {part!r}; there are: {', '.join(found) or 'none, it was never up'}")
    shown = {part: found[part]} if part else found
    for name, path in shown.items():
        for line in tail(path, lines).splitlines():
            _print_line(name, line)
    if follow:
        _follow(shown)


def _print_line(name: str, line: str) -> None:
    out.print(f"{name:<12} {line}", markup=False, highlight=False)


def _follow(shown: Mapping[str, Path]) -> None:
    places = {name: path.stat().st_size for name, path in shown.items()}
    while True:
        for name, path in shown.items():
            size = path.stat().st_size if path.exists() else 0
            places[name] = min(places[name], size)  # the log was begun anew
            if size > places[name]:
                with path.open("rb") as file:
                    file.seek(places[name])
                    text = file.read().decode("utf-8", errors="replace")
                    places[name] = file.tell()
                for line in text.splitlines():
                    _print_line(name, line)
        time.sleep(0.3)


def stop() -> None:
    """End the refresh under way after its next checkpoint; `perennial refresh` goes on from there."""
    from pipelines.edge.attempts import stop as ask

    facts = ask(open_home())
    if facts is None:
        out.print("no refresh is under way")
        return
    stage = facts.get("stage") or "its first stage"
    out.print(f"asked process {facts['pid']}, now in {stage}, to end after its next checkpoint", highlight=False)


Schedule = Annotated[str | None, typer.Argument(help="One schedule of perennial.yaml; default: all, and the events.")]


def pause(schedule: Schedule = None) -> None:
    """Let nothing, or not this schedule, start refreshes by itself; they can still be started by hand."""
    from pipelines.service.deployments import set_paused

    out.print(set_paused(_served(), paused=True, schedule=schedule))


def resume(schedule: Schedule = None) -> None:
    """Let schedules and landings start refreshes again."""
    from pipelines.service.deployments import set_paused

    out.print(set_paused(_served(), paused=False, schedule=schedule))


def _served() -> "Home":
    home = open_home()
    if not os.environ.get("PREFECT_API_URL"):
        raise ValueError("no Prefect server is known; start one with `perennial up`, or name it in perennial.yaml")
    return home


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write, for instance ../perennial.tar.gz.")],
    with_prefect: Annotated[bool, typer.Option(help="Prefect's database too: its runs, and its blocks.")] = False,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Write one file that the workspace can go on from, elsewhere too; refreshes wait meanwhile."""
    from pipelines.service.backup import backup as write

    with progress_bars(err, quiet=as_json) as progress:
        summary = write(open_home(), file, wait=wait, prefect=with_prefect, progress=progress)
    show(summary.model_dump(), lambda: _summary("backup", summary), as_json=as_json)


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `perennial backup` wrote; only one that you trust.")],
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    as_json: Json = False,
) -> None:
    """Make the workspace of a backup in a new folder, every byte checked before it is there."""
    from pipelines.edge.orchestration import prepare_environment
    from pipelines.service.restore import restore as read

    with progress_bars(err, quiet=as_json) as progress:
        summary = read(file, folder, progress)
    prepare_environment(folder)
    show(summary.model_dump(), lambda: _summary("restored", summary), as_json=as_json)


def _summary(word: str, found: "Summary") -> str:
    size = f"{found.bytes / 1e6:,.1f} MB in {found.files:,} files"
    lines = [f"{word}: {found.path}: {size}, {found.archive_bytes / 1e6:,.1f} MB packed, {found.seconds:.1f} s"]
    return "\n".join([*lines, *found.notes])


def ui(port: Annotated[int, typer.Option(help="A free port on this machine.")] = 5000) -> None:
    """Open the MLflow UI on this machine: runs, plots, versions."""
    from pipelines.edge.registry import experiment_id, use_tracking

    home = open_home()
    address = use_tracking(home)
    if address.startswith("http"):
        out.print(f"{address} is up")
        return
    experiment_id(home)
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    out.print(f"http://127.0.0.1:{port} (Ctrl-C ends it)")
    words = ["-m", "mlflow", "ui", "--backend-store-uri", address, "--host", "127.0.0.1", "--port", str(port)]
    os.execv(sys.executable, [sys.executable, *words, "--workers", "1"])  # noqa: S606
