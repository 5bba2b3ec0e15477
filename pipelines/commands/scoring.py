"""The verb that scores a single version."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.common import Json, err, load, open_home, show
from pipelines.progress import progress_bars

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipelines.edge.evaluation import Evaluated


def evaluate(
    version: Annotated[str, typer.Argument(help="A version's number, an alias, or `base`.")] = "champion",
    recipe: Annotated[
        str | None,
        typer.Option(help="A recipe's path or name, whose section evaluate is used; default: the workspace's."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Score a version on the hold-outs and the suites of a recipe, outside of any refresh.

    For instance `perennial evaluate base`, or `perennial evaluate 3 --recipe my-suites.yaml --json`.

    What was scored before is read from a cache. Nothing is registered, promoted or judged.
    """
    from pipelines.edge.evaluation import evaluate_version

    home = open_home()
    loaded = load(recipe or home.settings.recipe, home.root)
    with progress_bars(err, quiet=as_json or not err.is_terminal) as progress:
        found = evaluate_version(home, version, loaded, progress)
    show(found.model_dump(mode="json"), lambda: _tables(found), as_json=as_json)


def _tables(found: "Evaluated") -> "RenderableType":
    from rich.console import Group
    from rich.table import Table

    report, parts = found.report, list[Table | str]()
    if report.anchor:
        losses = Table(title=f"Version {found.version}: loss on anchor hold-outs", title_justify="left")
        for name in ("task", "nats per token", "bits per byte", "items"):
            losses.add_column(name, justify="left" if name == "task" else "right")
        for task, score in report.anchor.items():
            losses.add_row(
                task, f"{score.loss_nats_per_token:.3f}", f"{score.bits_per_byte:.3f}", f"{score.num_items:,}"
            )
        parts.append(losses)
    if report.suites:
        suites = Table(title=f"Version {found.version}: suites", title_justify="left", caption_justify="left")
        suites.caption = f"{report.path}/suites.jsonl"
        for name in ("suite", "score", "what it is", "questions"):
            suites.add_column(name, justify="right" if name in {"score", "questions"} else "left")
        for name, suite in report.suites.items():
            suites.add_row(name, f"{100 * suite.score:.1f} %", suite.metric, f"{suite.num_items:,}")
        parts.append(suites)
    return Group(*parts, *found.notes)
