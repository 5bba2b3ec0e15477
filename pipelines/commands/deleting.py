"""The verb that deletes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.common import BROKE, Json, Wait, err, open_home, show, telling
from pipelines.progress import progress_bars

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.edge.forget.work import Done, Plan


def forget(
    key: Annotated[list[str] | None, typer.Option("--key", help="A document's key; may be given often.")] = None,
    match: Annotated[
        Path | None, typer.Option("--match", help="A document, or JSON lines of {key} or {text}.", dir_okay=False)
    ] = None,
    why: Annotated[str, typer.Option("--why", help="The reason; kept with the tombstone. Never the document.")] = "",
    near: Annotated[bool, typer.Option("--near", help="What says nearly the same, too.")] = False,
    whole_files: Annotated[
        bool, typer.Option("--whole-files", help="Remove a landed file whole where no row can be taken out.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
    wait: Wait = 0.0,
) -> None:
    """Remove documents from everything that the workspace holds, for good, and keep them from landing again.

    Without a key or a file it finishes what was cut off.
    """
    from pipelines.edge.forget import work
    from pipelines.edge.forget.search import wanted

    home = open_home()
    if not key and not match and not work.is_under_way(home):
        raise typer.BadParameter("give --key KEY or --match FILE")
    if (key or match) and not why.strip() and not dry_run:
        raise typer.BadParameter("give --why TEXT: it is all that will be left to tell why")
    with telling(home), home.lock(wait):
        if not dry_run:
            with progress_bars(err, quiet=as_json) as progress:
                done = work.finish(home, progress)
            if done and not key and not match:
                show(done.model_dump(mode="json"), lambda: _done(done), as_json=as_json)
        if not key and not match:
            return
        keys, texts = wanted(match) if match else ([], [])
        found = work.plan(home, [*(key or []), *keys], texts, near=near, whole_files=whole_files)
        if dry_run or not as_json:
            facts = found.model_dump(mode="json", exclude={"target"})
            show(facts, lambda: _planned(found), as_json=as_json)
        if dry_run:
            return
        if not yes and not typer.confirm("Remove all of this for good?", err=True):
            raise typer.Exit(BROKE)
        with progress_bars(err, quiet=as_json) as progress:
            did = work.forget(home, found, why, progress)
        show(did.model_dump(mode="json"), lambda: _done(did), as_json=as_json)


def _planned(found: "Plan") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table("task", "batch", "file", "line", "document", "goes for", title="What goes")
    for hit in found.hits:
        table.add_row(hit.task, hit.batch, escape(hit.file), str(hit.line), escape(hit.key or "unreadable"), hit.why)
    for hit in found.near:
        stays = "stays: nearly the same (--near)"
        table.add_row(hit.task, hit.batch, escape(hit.file), str(hit.line), escape(hit.key or ""), stays, style="dim")
    for each in found.versions:
        table.add_row("", "", "", "", f"version {each.version} ({each.verdict})", _how(each.how), style="yellow")
    return table


def _done(done: "Done") -> "Table":
    from rich.table import Table

    table = Table("what", "how much", title="Forgotten")
    table.add_row("documents", str(done.documents))
    table.add_row("batches rewritten", ", ".join(done.batches) or "none")
    table.add_row("segments of state rewritten", str(done.segments))
    table.add_row("stages to be made again", ", ".join(done.stages) or "none")
    table.add_row("records, pages and logs changed", str(done.records))
    for place, count in done.objects.items():
        table.add_row(f"objects removed: {place}", str(count))
    for each in done.versions:
        table.add_row(f"version {each.version} ({each.verdict})", _how(each.how), style="yellow")
    for note in done.notes:
        table.add_row("note", note)
    return table


def _how(how: str) -> str:
    return {
        "trained": "trained on it",
        "may have trained": "may have trained on it (what it trained on was not written down)",
        "descends": "stands on a version that trained on it, or may have",
        "consumed": "consumed its batch, did not train on it",
    }[how]
