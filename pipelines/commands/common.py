"""What the verbs share: the console, the options, the workspace that they work in."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from pipelines.edge.home import Home

REPOSITORY = Path(__file__).resolve().parents[2]
BROKE, USAGE = 1, 2
WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 110  # of tables in a file or a pipe
out, err = Console(soft_wrap=True, width=WIDTH), Console(stderr=True, soft_wrap=True)
state: dict[str, Any] = {"workspace": None, "verbose": False}

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Why = Annotated[str, typer.Option("--why", help="The reason; kept in the ledger.")]
Wait = Annotated[float, typer.Option("--wait", help="Seconds to wait for a busy workspace.")]


def open_home() -> "Home":
    """The workspace that the verb works in, its environment prepared."""
    from pipelines.edge.home import Home
    from pipelines.edge.orchestration import prepare_environment
    from pipelines.service.addresses import use_servers

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
    use_servers(home)
    if home.settings.threads:
        os.environ.setdefault("OMP_NUM_THREADS", str(home.settings.threads))
    return home


@contextmanager
def telling(home: "Home") -> Iterator[None]:
    """Tell Prefect and people in the end of what a verb made happen, whether it went well or not."""
    from pipelines.service.announce import announce_pending

    try:
        yield
    finally:
        announce_pending(home)


def load(name: str, root: Path) -> Any:
    """A recipe by path or name; a usage error where it does not fit."""
    from pipelines.recipe import find_recipe, load_recipe

    try:
        return load_recipe(find_recipe(name, root))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def show(value: Any, table: Callable[[], Any], *, as_json: bool) -> None:
    """A table for a person, or one JSON object for a machine."""
    if as_json:
        sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
    else:
        out.print(table(), soft_wrap=False)
