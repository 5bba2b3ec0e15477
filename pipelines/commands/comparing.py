"""The verb that compares two versions, in weights and in words."""

from typing import Annotated

import typer

from pipelines.commands.common import Json, err, load, open_home, show
from pipelines.progress import progress_bars


def compare(
    first: Annotated[str, typer.Argument(metavar="V1", help="A version's number, an alias, or `base`.")],
    second: Annotated[str, typer.Argument(metavar="V2", help="The other; what changed is told from V1 to V2.")],
    recipe: Annotated[
        str | None,
        typer.Option(help="A recipe's path or name, whose section compare is used; default: the workspace's."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what changed between two versions: update norm, rank, intruder dimensions, KL, what only V2 would say.

    For instance `perennial compare base champion`, or `perennial compare 3 4 --json`.

    It is what every refresh shows of its candidate (docs/comparing.md). Recipe, data and losses: `perennial diff`.
    """
    from rich.markdown import Markdown

    from pipelines.edge.change_report import changes_report
    from pipelines.edge.comparing import compare_versions

    home = open_home()
    loaded = load(recipe or home.settings.recipe, home.root)
    with progress_bars(err, quiet=as_json or not err.is_terminal) as progress:
        found = compare_versions(home, first, second, loaded, progress)
    told = "\n\n".join(
        [changes_report(found.changes) or "Nothing was compared: see the recipe's section compare.", *found.notes]
    )
    show(found.model_dump(mode="json"), lambda: Markdown(told), as_json=as_json)
