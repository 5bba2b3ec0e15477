"""Progress: a bar for each stage; the one before ends when the next begins."""

from rich.console import Console

from pipelines.progress import progress_bars


def test_each_stage_has_a_bar_that_ends() -> None:
    console = Console(width=120)
    with console.capture() as captured, progress_bars(console, quiet=False) as progress:
        progress("ingest", 0, 0, "wiki")
        progress("train", 0, 0, "train")
        progress("train", 3, 16, "steps")
    assert "ingest wiki" in captured.get()
    assert "16/16" in captured.get()


def test_quiet_shows_nothing() -> None:
    console = Console()
    with console.capture() as captured, progress_bars(console, quiet=True) as progress:
        progress("train", 1, 2, "steps")
    assert captured.get() == ""
