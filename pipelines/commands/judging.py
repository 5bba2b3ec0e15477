"""Verbs on the gate: what it can see with how many items."""

from typing import Annotated

import typer

from pipelines.commands.common import Json, load, open_home, show


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
