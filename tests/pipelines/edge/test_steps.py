"""One stage at a time."""

from pathlib import Path

import pytest

from pipelines.edge.steps import run_step
from tests.workspaces import workspace


def silent(stage: str, done: int, total: int, what: str) -> None:
    assert done <= max(total, done), (stage, what)


def test_an_unknown_stage_is_answered_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no stage 'trian'; there are: inputs, ingest, split"):
        run_step(workspace(tmp_path, documents=3), "trian", None, None, silent)


def test_without_an_attempt_there_is_nothing_to_step_through(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="perennial step inputs"):
        run_step(workspace(tmp_path, documents=3), "split", None, None, silent)


def test_a_stage_waits_for_those_before_it(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=3)
    assert run_step(home, "inputs", None, "tiny", silent) == "inputs: made"
    assert (home.root / "data" / "inputs.json").exists()
    with pytest.raises(ValueError, match="ingest comes first and is not made"):
        run_step(home, "clean", None, None, silent)


@pytest.mark.pipeline
def test_clean_tells_where_its_report_lies(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=12)
    for stage, task in (("inputs", None), *(("ingest", task) for task in ("statements", "types", "general"))):
        run_step(home, stage, task, "tiny", silent)
    run_step(home, "split", None, None, silent)
    told = run_step(home, "clean", None, None, silent)
    assert told == f"clean: made; report: {home.root / '.perennial/reports/clean.html'}"
    assert "What clean kept" in (home.root / ".perennial/reports/clean.html").read_text(encoding="utf-8")
    assert list((home.root / "data" / "clean").rglob("*.html")) == [], "it is derived: not one of the data"
