"""Progress on a terminal: a bar for each stage, with an estimate of the time left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console


@contextmanager
def progress_bars(console: Console, *, quiet: bool) -> Iterator[Callable[[str, int, int, str], None]]:
    """Progress of each stage on standard error, with an estimate of the time left."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    if quiet:
        yield lambda stage, done, total, what: None
        return
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=False) as bars:
        last: dict[str, Any] = {}

        def show(stage: str, done: int, total: int, what: str) -> None:
            if total == 0 or not last:  # a stage begins: the one before it has ended
                if last:
                    bars.update(last["id"], total=last["total"], completed=last["total"])
                name = stage if total or what in {stage, ""} else f"{stage} {what}"
                last.update(id=bars.add_task(name[:22], total=None), total=1)
                if not total:
                    return
            last["total"] = total
            bars.update(last["id"], total=total, completed=done)

        yield show
        if last:
            bars.update(last["id"], total=last["total"], completed=last["total"])
