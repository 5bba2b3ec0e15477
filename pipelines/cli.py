"""The command line: `perennial …`. The only place that prints; heavy libraries are imported inside the verbs."""

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from pipelines.progress import progress_bars

if TYPE_CHECKING:
    from pipelines.edge.home import Home

REPOSITORY = Path(__file__).resolve().parent.parent
BROKE, USAGE = 1, 2
app = typer.Typer(
    name="perennial",
    help="Keep a language model fresh: land new text, refresh the model, promote it only if it is better.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 110  # of tables in a file or a pipe
out, err = Console(soft_wrap=True, width=WIDTH), Console(stderr=True, soft_wrap=True)
state: dict[str, Any] = {"workspace": None, "verbose": False}

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Why = Annotated[str, typer.Option("--why", help="The reason; kept in the ledger.")]
Wait = Annotated[float, typer.Option("--wait", help="Seconds to wait for a busy workspace.")]


@app.callback()
def workspace_option(
    workspace: Annotated[
        Path | None, typer.Option("--workspace", "-w", help="The workspace's folder. Default: where perennial.yaml is.")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show what the steps log, and whole tracebacks.")
    ] = False,
) -> None:
    """Options that every verb takes."""
    state.update(workspace=workspace, verbose=verbose)
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    if not verbose:
        logging.getLogger("py.warnings").setLevel(logging.ERROR)  # libraries telling each other what is deprecated


def _home() -> "Home":
    from pipelines.edge.home import Home
    from pipelines.edge.orchestration import prepare_environment

    root = state["workspace"]
    if root is None:
        here = Path.cwd()
        root = next((place for place in (here, *here.parents) if (place / "perennial.yaml").exists()), REPOSITORY)
    if not (root / "data" / "tasks.yaml").exists():
        raise typer.BadParameter(
            f"{root}: no workspace here (data/tasks.yaml is missing); make one: perennial init {root}"
        )
    prepare_environment(root)
    home = Home(root)
    if home.settings.threads:
        os.environ.setdefault("OMP_NUM_THREADS", str(home.settings.threads))
    return home


def _recipe(name: str, root: Path) -> Any:
    from pipelines.recipe import find_recipe, load_recipe

    try:
        return load_recipe(find_recipe(name, root))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _show(value: Any, table: Callable[[], Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
    else:
        out.print(table(), soft_wrap=False)


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="The folder to make.")]) -> None:
    """Make a workspace: its settings, its tasks, its contract, its stages."""
    from pipelines.edge.workspaces import make_workspace

    for line in make_workspace(folder):
        out.print(line)


@app.command()
def validate(recipe: Annotated[str, typer.Argument(help="A recipe's path or name.")]) -> None:
    """Check a recipe, and show it with every default written out."""
    import yaml

    loaded = _recipe(recipe, state["workspace"] or Path.cwd())
    sys.stdout.write(yaml.safe_dump(loaded.dump(), sort_keys=False, allow_unicode=True))
    err.print(f"valid; fingerprint {loaded.fingerprint()[:16]}")


@app.command()
def land(
    task: Annotated[str, typer.Argument(help="The task, as data/tasks.yaml names it.")],
    files: Annotated[list[Path] | None, typer.Argument(help="Files or folders: JSONL or text, gzip or not.")] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", help="A connector: python:topics, installed:pandas,scikit-learn, wikipedia:gensim."),
    ] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="A key to withdraw; may be given often.")] = None,
) -> None:
    """Copy new text into the landing area, atomically and for good."""
    from datetime import UTC, datetime

    from pipelines.edge import landing

    if not files and not source and not remove:
        raise typer.BadParameter("give files, --from SOURCE or --remove KEY")
    home, now = _home(), datetime.now(UTC)
    landed = [landing.land_from(home.root, task, source, now=now)] if source else []
    if files or remove:
        landed.append(landing.land(home.root, task, files or [], remove or [], now=now))
    for batch in landed:
        out.print(f"{task}: landed {batch.name}" if batch else f"{task}: nothing new; the same content landed before")


def _stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _run_refresh(recipe: str | None, *, again: bool, wait: float, quiet: bool) -> Any:
    from pipelines.edge.conclude import read_outcome, settle
    from pipelines.edge.orchestration import end_orphans
    from pipelines.edge.outcome import Outcome
    from pipelines.edge.registry import Registry
    from pipelines.edge.session import Session, attempt_of, pending

    home = _home()
    loaded = _recipe(recipe or home.settings.recipe, home.root)
    with home.lock(wait):
        end_orphans()
        settle(home, Registry(home))
        with progress_bars(err, quiet=quiet) as progress:
            do = Session(home, loaded, again=again, progress=progress)
            parent = do.current()
            found = pending(home, parent)
            if not any(part.task.role == "train" for part in found.values()):
                return home, do.unchanged(parent)
            judged = home.judged(attempt_of(home, parent, loaded, found, again=False))
            if judged and not again:
                err.print("this attempt was judged before; its verdict again (--again runs it once more)")
                return home, read_outcome(judged)
            from pipelines.refresh import refresh as score

            try:
                outcome: Outcome = score(do)
            except BaseException as error:
                do.abandon("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
                raise
            return home, outcome


@app.command()
def refresh(
    recipe: Annotated[str | None, typer.Argument(help="A recipe's path or name; default: the workspace's.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be consumed, and about what it costs.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Run an attempt once more that was judged before.")] = False,
    as_json: Json = False,
    wait: Wait = 0.0,
) -> None:
    """Refresh the model on what has landed. Exit code: 0 accepted or nothing new, 10 rejected, 11 undecided."""
    from pipelines import tables

    if dry_run:
        from pipelines.edge.operations import preview

        home = _home()
        found = preview(home, _recipe(recipe or home.settings.recipe, home.root))
        _show(found, lambda: tables.preview_table(found), as_json=as_json)
        return
    signal.signal(signal.SIGTERM, _stop)
    home, outcome = _run_refresh(recipe, again=again, wait=wait, quiet=as_json)
    places = {"runs, plots and versions": "perennial ui", "data docs": str(home.hidden / "data-docs" / "index.html")}
    _show(outcome.model_dump(mode="json"), lambda: tables.outcome_table(outcome, places), as_json=as_json)
    raise typer.Exit(outcome.exit_code)


def _set_aside(verb: str, task: str, batch: str, why: str) -> None:
    from pipelines.edge.operations import set_aside

    name = set_aside(_home(), verb, task, batch, why)
    out.print(f"{task}/{name}: {verb.rstrip('e')}ed" if verb != "hold" else f"{task}/{name}: held")


@app.command()
def hold(task: str, batch: str, why: Why) -> None:
    """Keep a batch out of refreshes until it is released."""
    _set_aside("hold", task, batch, why)


@app.command()
def release(task: str, batch: str, why: Why) -> None:
    """Let a held batch take part again."""
    _set_aside("release", task, batch, why)


@app.command()
def discard(task: str, batch: str, why: Why) -> None:
    """Keep a batch out of refreshes for good; its bytes stay."""
    _set_aside("discard", task, batch, why)


@app.command()
def status(as_json: Json = False) -> None:
    """The champion, the versions, what waits, what is held."""
    from pipelines import tables
    from pipelines.edge import operations

    found = operations.status(_home())
    _show(found, lambda: tables.status_table(found), as_json=as_json)


@app.command()
def step(
    stage: Annotated[
        str, typer.Argument(help="ingest, split, clean, select, plan, mix, train, merge, evaluate, gate, …")
    ],
    task: Annotated[str | None, typer.Option(help="Only this task's part of the stage.")] = None,
    recipe: Annotated[str | None, typer.Option(help="A recipe's path or name, where no attempt is under way.")] = None,
) -> None:
    """Make one stage of the attempt under way, without Prefect; `dvc repro` calls this."""
    from pipelines.edge.steps import run_step

    home = _home()
    with progress_bars(err, quiet=not err.is_terminal) as progress:
        out.print(run_step(home, stage, task, recipe, progress))


@app.command()
def methods(as_json: Json = False) -> None:
    """The methods of every slot, each with its first line."""
    from rich.table import Table

    from steps.core.method import method_names, slot_names, summary

    found = {slot: {name: summary(slot, name) for name in method_names(slot)} for slot in slot_names()}
    table = Table("slot", "method", "what it does")
    for slot, names in found.items():
        for name, line in names.items():
            table.add_row(slot, name, line)
    _show(found, lambda: table, as_json=as_json)


@app.command()
def schema() -> None:
    """The JSON Schema of a recipe, for editors."""
    from pipelines.recipe import Recipe

    sys.stdout.write(json.dumps(Recipe.model_json_schema(), indent=1) + "\n")


@app.command()
def promote(version: str, why: Why = "by hand") -> None:
    """Make an undecided or once accepted version the champion."""
    from pipelines.edge.operations import promote_by_hand

    home = _home()
    with home.lock():
        out.print(promote_by_hand(home, version, why))


@app.command()
def rollback(why: Why = "by hand") -> None:
    """Move the champion back to its parent, and hold the batches that only the version left had consumed."""
    from pipelines.edge.operations import roll_back

    home = _home()
    with home.lock():
        out.print(roll_back(home, why))


@app.command()
def reproduce(version: str, as_json: Json = False) -> None:
    """Rebuild a version from its lineage, and say whether its weights are the same, bit for bit."""
    from pipelines.edge import operations

    home = _home()
    with home.lock(), progress_bars(err, quiet=as_json) as progress:
        found = operations.reproduce(home, version, progress)
    word = "bit-identical" if found.identical else "NOT identical"
    line = f"version {version}: {word} (registered {found.registered[:16]}, rebuilt {found.rebuilt[:16]})"
    _show(found.model_dump(), lambda: line, as_json=as_json)
    raise typer.Exit(0 if found.identical else BROKE)


@app.command()
def ui(port: Annotated[int, typer.Option(help="A free port on this machine.")] = 5000) -> None:
    """Open the MLflow UI on this machine: runs, plots, versions."""
    from pipelines.edge.registry import experiment_id, use_tracking

    home = _home()
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


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check what this machine and workspace need: versions, device, disk, memory, state."""
    from rich.table import Table

    from pipelines.edge.doctor import examine

    found = examine(_home())
    table = Table("check", "found", "advice")
    for check in found:
        table.add_row(check.name, f"[{'green' if check.good else 'red'}]{check.found}[/]", check.advice)
    _show([check.model_dump() for check in found], lambda: table, as_json=as_json)
    raise typer.Exit(0 if all(check.good for check in found) else BROKE)


@app.command("small-model")
def small_model() -> None:
    """Train the small base model that experiments use (`base: small:`), at most 10 minutes, cached."""
    from pipelines.small_model import build_small_model

    home = _home()
    with home.lock(), progress_bars(err, quiet=False) as progress:
        progress("small-model", 0, 0, "")
        model = build_small_model(
            home.root, progress=lambda done, total, what: progress("small-model", done, total, what)
        )
    out.print(f"small model: {model.num_parameters:,} parameters, {model.path}")


def main() -> None:
    """Run the command line; a user's error is one message, not a traceback."""
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        err.print("stopped; run the same command again to go on where it was", style="yellow", markup=False)
        sys.exit(BROKE)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        if state["verbose"]:
            raise
        err.print(f"perennial: {error}", style="red", markup=False, highlight=False)
        sys.exit(BROKE)
