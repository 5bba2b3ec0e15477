"""The verb that plans a mixture by pilots."""

import signal
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from pipelines.commands.common import BROKE, Json, Wait, err, load, open_home, show
from pipelines.progress import progress_bars

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from pipelines.edge.pilots import Piloted


def _stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def pilot(
    recipe: Annotated[str | None, typer.Argument(help="A recipe's path or name; default: the workspace's.")] = None,
    as_json: Json = False,
    wait: Wait = 0.0,
) -> None:
    """Plan a mixture: short runs at several shares, a law fitted to them. Exit code: 0 fitted, 10 refused."""
    from pipelines.edge.pilots import run_pilots
    from pipelines.service.inbox import sweep_inboxes

    signal.signal(signal.SIGTERM, _stop)
    home = open_home()
    loaded = load(recipe or home.settings.recipe, home.root)
    sweep_inboxes(home)
    try:
        with progress_bars(err, quiet=as_json) as progress:
            piloted = run_pilots(home, loaded, wait=wait, progress=progress)
    except KeyboardInterrupt as error:
        err.print("stopped; run the same command again: the pilots that are done are kept", style="yellow")
        raise typer.Exit(BROKE) from error
    show(piloted.model_dump(mode="json"), lambda: _table(piloted), as_json=as_json)
    raise typer.Exit(piloted.exit_code)


def _table(piloted: "Piloted") -> "RenderableType":
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    parts: list[Any] = [_pilots(piloted)] if piloted.pilots else []
    if piloted.plan.get("checks", {}).get("held_out"):
        parts.append(_held_out(piloted.plan["checks"]["held_out"]))
    if piloted.plan:
        parts.append(_recommended(piloted))
    words = {"fitted": "green", "refused": "red", "needless": "cyan", "unchanged": "cyan"}
    said = Text(piloted.kind.upper(), style=f"bold {words[piloted.kind]}")
    parts.append(Panel(Group(said, *(Text(f"- {reason}") for reason in piloted.reasons))))
    if piloted.kind == "fitted":
        parts.append(Text(f"put this into plan.mixture of recipe {piloted.recipe}:"))
        parts.append(Text(f"    fit: {{path: {piloted.path},\n          digest: {piloted.digest}}}"))
    return Group(*parts)


def _pilots(piloted: "Piloted") -> "Table":
    from rich.table import Table

    from pipelines.edge.pilots import groups_of

    share = 100 * piloted.tokens / piloted.budget_tokens
    title = f"Pilots: {piloted.tokens:,} loss tokens, {share:.0f} % of the full run's; validation loss, nats per token"
    table = Table(
        "new text", "loss tokens", "seed", "domain, mean", "general, mean", "", title=title, title_justify="left"
    )
    for each in sorted(piloted.pilots, key=lambda pilot: (pilot.trial.shares.replay, pilot.trial.seed), reverse=True):
        losses = groups_of(piloted, each)
        cells = [f"{b:.3f} → {a:.3f}" for b, a in (losses[g] for g in ("domain", "general") if g in losses)]
        cells += ["-"] * (2 - len(cells))
        name = f"{100 * (1 - each.trial.shares.replay):.0f} %"
        table.add_row(name, f"{each.tokens[-1]:,}", str(each.trial.seed), *cells, "held out" * each.trial.held_out)
    return table


def _held_out(rows: list[dict[str, Any]]) -> "Table":
    from rich.table import Table

    table = Table(
        "loss", "new text", "before", "measured", "predicted", "error of the change", "interpolated", "its error"
    )
    table.title, table.title_justify = "At the held-out ratio", "left"
    for row in rows:
        change = row["actual"] - row["start"]
        errors = [row[name] - row["actual"] for name in ("predicted", "interpolated")]
        shares = [f"{100 * abs(error / change):.0f} %" if change else "-" for error in errors]
        losses = [f"{row[name]:.3f}" for name in ("start", "actual", "predicted")]
        name = row["task"] or f"{row['group']}, mean"
        table.add_row(name, f"{100 * row['ratio']:.0f} %", *losses, shares[0], f"{row['interpolated']:.3f}", shares[1])
    return table


def _recommended(piloted: "Piloted") -> "Table":
    from rich.table import Table

    plan, intervals = piloted.plan, piloted.plan.get("intervals", {})
    table = Table("what", "value", "90 % interval", title="The full run", title_justify="left")
    for source, part in plan.get("recommended", {}).items():
        table.add_row(f"{source}, share of the loss tokens", f"{100 * part:.1f} %", "")
    if "ratio" in plan:
        table.add_row("share of new text", f"{100 * plan['ratio']:.1f} %", _interval(intervals.get("ratio"), 100, " %"))
    for task, loss in plan.get("predicted", {}).items():
        edges = _interval((intervals.get("tasks") or {}).get(task), 1, "")
        table.add_row(f"{task}, predicted loss, nats per token", f"{loss:.3f}", edges)
    return table


def _interval(edges: Any, factor: float, unit: str) -> str:
    return "" if not edges else " to ".join(f"{factor * edge:.{1 if factor > 1 else 3}f}{unit}" for edge in edges)
