"""Verbs that make and check: a workspace, landings, recipes, single stages, the machine."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.common import BROKE, Json, err, load, open_home, out, show, state
from pipelines.progress import progress_bars
from pipelines.verdicts import explanation


def init(folder: Annotated[Path, typer.Argument(help="The folder to make.")]) -> None:
    """Make a workspace: its settings, its tasks, its contract, its stages."""
    from pipelines.edge.workspaces import make_workspace

    for line in make_workspace(folder):
        out.print(line)


def validate(recipe: Annotated[str, typer.Argument(help="A recipe's path or name.")]) -> None:
    """Check a recipe, and show it with every default written out."""
    import yaml

    loaded = load(recipe, state["workspace"] or Path.cwd())
    sys.stdout.write(yaml.safe_dump(loaded.dump(), sort_keys=False, allow_unicode=True))
    err.print(f"valid; fingerprint {loaded.fingerprint()[:16]}")


def land(
    task: Annotated[str, typer.Argument(help="The task, as data/tasks.yaml names it.")],
    files: Annotated[list[Path] | None, typer.Argument(help="Files or folders; formats: docs/curation.md.")] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", help="python:topics, installed:NAME,…, wikipedia:gensim, hf:NAME or an fsspec address."),
    ] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="A key to withdraw; may be given often.")] = None,
) -> None:
    """Copy new text into the landing area, atomically and for good."""
    from datetime import UTC, datetime

    from pipelines.edge import landing

    if not files and not source and not remove:
        raise typer.BadParameter("give files, --from SOURCE or --remove KEY")
    home, now = open_home(), datetime.now(UTC)
    landed = [landing.land_from(home.root, task, source, now=now)] if source else []
    if files or remove:
        landed.append(landing.land(home.root, task, files or [], remove or [], now=now))
    for batch in landed:
        out.print(f"{task}: landed {batch.name}" if batch else f"{task}: nothing new; the same content landed before")


def step(
    stage: Annotated[
        str, typer.Argument(help="ingest, split, clean, select, plan, mix, train, merge, evaluate, gate, …")
    ],
    task: Annotated[str | None, typer.Option(help="Only this task's part of the stage.")] = None,
    recipe: Annotated[str | None, typer.Option(help="A recipe's path or name, where no attempt is under way.")] = None,
    explain: Annotated[
        Path | None, typer.Option(metavar="FILE", help="clean: print every rule's verdict on a file's documents.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make one stage of the attempt under way, without Prefect; `dvc repro` calls this."""
    from pipelines.edge.steps import explain_file, run_step

    if explain and stage != "clean":
        raise typer.BadParameter(f"--explain tells of the rules of clean, not of {stage}")
    home = open_home()
    if explain:
        found = explain_file(home, explain, task, recipe)
        show(found, lambda: explanation(found), as_json=as_json)
        return
    with progress_bars(err, quiet=not err.is_terminal) as progress:
        out.print(run_step(home, stage, task, recipe, progress))


def methods(
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The page docs/methods.md.")] = False,
) -> None:
    """The methods of every slot, each with its first line."""
    from rich.table import Table

    if markdown:
        from pipelines.method_page import page

        sys.stdout.write(page())
        return

    from steps.core.method import method_names, slot_names, summary

    found = {slot: {name: summary(slot, name) for name in method_names(slot)} for slot in slot_names()}
    table = Table("slot", "method", "what it does")
    for slot, names in found.items():
        for name, line in names.items():
            table.add_row(slot, name, line)
    show(found, lambda: table, as_json=as_json)


def schema() -> None:
    """The JSON Schema of a recipe, for editors."""
    from pipelines.recipe import Recipe

    sys.stdout.write(json.dumps(Recipe.model_json_schema(), indent=1) + "\n")


def doctor(as_json: Json = False) -> None:
    """Check what this machine and workspace need: versions, device, disk, memory, state."""
    from rich.table import Table

    from pipelines.edge.doctor import examine

    found = examine(open_home())
    table = Table("check", "found", "advice")
    for check in found:
        table.add_row(check.name, f"[{'green' if check.good else 'red'}]{check.found}[/]", check.advice)
    show([check.model_dump() for check in found], lambda: table, as_json=as_json)
    raise typer.Exit(0 if all(check.good for check in found) else BROKE)


def small_model() -> None:
    """Train the small base model that experiments use (`base: small:`), at most 10 minutes, cached."""
    from pipelines.small_model import build_small_model

    home = open_home()
    with home.lock(), progress_bars(err, quiet=False) as progress:
        progress("small-model", 0, 0, "")
        model = build_small_model(
            home.root, progress=lambda done, total, what: progress("small-model", done, total, what)
        )
    out.print(f"small model: {model.num_parameters:,} parameters, {model.path}")
