"""Verbs on the gate: what it can see with how many items, and what the seed alone changes."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.common import Json, Wait, err, load, open_home, show
from pipelines.progress import progress_bars

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.edge.seeds import Noised


def gate_power(
    recipe: Annotated[str | None, typer.Argument(help="A recipe's path or name; default: the workspace's.")] = None,
    as_json: Json = False,
) -> None:
    """Say with how many items the gate can decide, at a recipe's margins; and what the last verdict had."""
    from pipelines import gate_power as powers

    home = open_home()
    loaded = load(recipe or home.settings.recipe, home.root)
    found = powers.gate_power(loaded.gate, home.root / "data" / "gate")
    show(found, lambda: powers.power_tables(found), as_json=as_json)


def noise(
    seeds: Annotated[int, typer.Option("--seeds", help="Other seeds, each a training of its own.")] = 3,
    as_json: Json = False,
    wait: Wait = 0.0,
) -> None:
    """Train the last candidate again with other seeds: how much of a change is the seed's, beside the margin."""
    from pipelines.edge.seeds import run_noise

    home = open_home()
    with progress_bars(err, quiet=as_json) as progress:
        found = run_noise(home, seeds, wait=wait, progress=progress)
    show(found.model_dump(mode="json"), lambda: _noise_table(found), as_json=as_json)


def _noise_table(found: "Noised") -> "Table":
    from rich.table import Table

    title = f"Change against the parent by training seed ({', '.join(map(str, found.seeds))}); positive is harm"
    table = Table(title=title, title_justify="left", caption=found.path, caption_justify="left")
    for name in ("what", "its own seed", "lowest", "highest", "standard deviation", "margin", "margin / deviation"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for row in found.spreads:
        digits = 3 if row.unit == "nats" else 1
        changes = (f"{each:+.{digits}f}" for each in (row.changes[0], min(row.changes), max(row.changes)))
        times = f"{row.margin / row.spread:,.1f}" if row.spread else "–"
        table.add_row(row.name, *changes, f"{row.spread:.{digits}f}", f"{row.margin:.{digits}f} {row.unit}", times)
    return table
