"""The command line: `perennial …`. Heavy libraries are imported inside the verbs."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import comparing, deleting, judging, line, making, planning, scoring, serving, versions
from pipelines.commands.common import BROKE, err, state

app = typer.Typer(
    name="perennial",
    help="Keep a language model fresh: land new text, refresh the model, promote it only if it is better.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Begin": (making.init, making.land, making.validate, making.methods, making.schema, making.doctor),
    "Refresh": (
        line.refresh,
        planning.pilot,
        judging.gate_power,
        judging.noise,
        line.status,
        line.promote,
        line.rollback,
        line.reproduce,
    ),
    "Versions": (scoring.evaluate, versions.diff, comparing.compare, versions.export, versions.push),
    "Batches": (line.hold, line.release, line.discard, deleting.forget),
    "Stay up": (serving.up, serving.down, serving.logs, serving.stop, serving.pause, serving.resume, serving.ui),
    "Keep": (serving.backup, serving.restore),
    "Single parts": (making.step, making.small_model),
}
for panel, verbs in PANELS.items():
    for verb in verbs:
        app.command(verb.__name__.replace("_", "-"), rich_help_panel=panel)(verb)


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


def main() -> None:
    """Run the command line; a user's error is one message, not a traceback."""
    try:
        app(standalone_mode=True)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        if state["verbose"]:
            raise
        err.print(f"perennial: {error}", style="red", markup=False, highlight=False)
        sys.exit(BROKE)
