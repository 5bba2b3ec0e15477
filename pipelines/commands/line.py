"""Verbs on the line of versions: refresh it, look at it, move its champion, hold what it would consume."""

import signal
from typing import Annotated, NoReturn

import typer

from pipelines.commands.common import BROKE, Json, Wait, Why, err, load, open_home, out, show, telling
from pipelines.progress import progress_bars


def _stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt


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

        home = open_home()
        found = preview(home, load(recipe or home.settings.recipe, home.root))
        show(found, lambda: tables.preview_table(found), as_json=as_json)
        return
    from pipelines.edge.attempts import run_refresh
    from pipelines.service.inbox import sweep_inboxes

    signal.signal(signal.SIGTERM, _stop)
    home = open_home()
    loaded = load(recipe or home.settings.recipe, home.root)
    sweep_inboxes(home)
    try:
        with telling(home), progress_bars(err, quiet=as_json) as progress:
            outcome = run_refresh(home, loaded, again=again, wait=wait, progress=progress)
    except KeyboardInterrupt as error:
        err.print("stopped; run the same command again to go on where it was", style="yellow")
        raise typer.Exit(BROKE) from error
    if outcome.repeated:
        err.print("this attempt was judged before; its verdict again (--again runs it once more)")
    places = {"runs, plots and versions": "perennial ui", "data docs": str(home.hidden / "data-docs" / "index.html")}
    show(outcome.model_dump(mode="json"), lambda: tables.outcome_table(outcome, places), as_json=as_json)
    raise typer.Exit(outcome.exit_code)


def _set_aside(verb: str, task: str, batch: str, why: str) -> None:
    from pipelines.edge.operations import set_aside

    name = set_aside(open_home(), verb, task, batch, why)
    out.print(f"{task}/{name}: {verb.rstrip('e')}ed" if verb != "hold" else f"{task}/{name}: held")


def hold(task: str, batch: str, why: Why) -> None:
    """Keep a batch out of refreshes until it is released."""
    _set_aside("hold", task, batch, why)


def release(task: str, batch: str, why: Why) -> None:
    """Let a held batch take part again."""
    _set_aside("release", task, batch, why)


def discard(task: str, batch: str, why: Why) -> None:
    """Keep a batch out of refreshes for good; its bytes stay."""
    _set_aside("discard", task, batch, why)


def status(as_json: Json = False) -> None:
    """The champion, the last refreshes and what they cost, what waits, what is held, what comes next, health."""
    from pipelines import tables
    from pipelines.service.report import report

    found = report(open_home())
    show(found, lambda: tables.status_table(found), as_json=as_json)


def promote(version: str, why: Why = "by hand") -> None:
    """Make an undecided or once accepted version the champion."""
    from pipelines.edge.operations import promote_by_hand

    home = open_home()
    with telling(home), home.lock():
        out.print(promote_by_hand(home, version, why))


def rollback(why: Why = "by hand") -> None:
    """Move the champion back to its parent, and hold the batches that only the version left had consumed."""
    from pipelines.edge.operations import roll_back

    home = open_home()
    with telling(home), home.lock():
        out.print(roll_back(home, why))


def reproduce(version: str, as_json: Json = False) -> None:
    """Rebuild a version from its lineage, and say whether its weights are the same, bit for bit.

    In a clean clone, too: landings and state come from the DVC remote by their hashes (name it with `dvc remote add
    --default --force NAME ADDRESS`), lineage and the parent's weights from the registry (MLFLOW_TRACKING_URI).
    """
    from pipelines.edge import operations

    home = open_home()
    with home.lock(), progress_bars(err, quiet=as_json) as progress:
        found = operations.reproduce(home, version, progress)
    word = "bit-identical" if found.identical else "NOT identical"
    line = f"version {version}: {word} (registered {found.registered[:16]}, rebuilt {found.rebuilt[:16]})"
    line += f"; {found.note}" if found.note else ""
    show(found.model_dump(), lambda: line, as_json=as_json)
    raise typer.Exit(0 if found.identical else BROKE)
