"""The verb `pilot`: its tables, its two lines for the recipe, its exit codes."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from pipelines.commands.planning import _table
from pipelines.edge.pilots import Piloted
from steps.core.method import from_recipe, method_names
from steps.methods.mixture import Fit
from tests.command_line import call
from tests.pipelines.edge.test_pilots import PILOT, ROLES
from tests.workspaces import workspace

ROW: dict[str, Any] = {"group": "general", "task": None, "ratio": 0.5, "tokens": 10, "start": 2.0, "actual": 2.5}
PLAN: dict[str, Any] = {
    "ratio": 0.6,
    "recommended": {"new/law": 0.6, "replay/general": 0.4},
    "predicted": {"law": 2.1},
    "intervals": {"ratio": [0.55, 0.65], "tasks": {"law": [2.0, 2.2]}},
    "checks": {"held_out": [ROW | {"predicted": 2.4, "interpolated": 2.3}]},
}
FITTED = Piloted(
    kind="fitted",
    recipe="mine",
    reasons=("a sentence with a number",),
    pilots=(PILOT,),
    roles=ROLES,
    plan=PLAN,
    path="data/pilots/mine-abc/plan.json",
    digest="a" * 64,
    tokens=10,
    budget_tokens=40,
)


def shown(piloted: Piloted) -> str:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(_table(piloted))
    return console.export_text()


def test_the_tables_show_losses_errors_and_the_recommendation() -> None:
    text = shown(FITTED)
    for part in (
        "25 % of the full run's",
        "4.000 → 2.500",
        "2.000 → 2.500",
        "20 %",
        "40 %",
        "60.0 %",
        "55.0 % to 65.0 %",
    ):
        assert part in text, part


def test_the_lines_for_the_recipe_are_the_fit_as_yaml() -> None:
    text = shown(FITTED)
    pasted = yaml.safe_load(text[text.index("fit:") :])
    assert Fit.model_validate(pasted["fit"]) == Fit(path=FITTED.path, digest=FITTED.digest)


def test_a_refusal_shows_its_reason_and_its_pilots() -> None:
    text = shown(Piloted(kind="refused", recipe="r", reasons=("too few ratios",), pilots=(PILOT,), budget_tokens=40))
    assert "REFUSED" in text
    assert "too few ratios" in text
    assert "fit:" not in text


@pytest.mark.pipeline
def test_a_mixture_without_pilots_is_answered_at_once(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=60)
    code, text = call("-w", str(home.root), "pilot", "tiny", "--json")
    assert code == 0
    assert json.loads(text[text.index("{") :])["kind"] == "needless"


@pytest.mark.parametrize("slot", ["select", "replay", "mixture", "order"])
def test_the_page_on_planning_has_every_method_with_a_recipe_that_loads(slot: str) -> None:
    page = Path("docs/planning.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith(f"| {slot} | ")]
    assert sorted(row[1] for row in rows) == method_names(slot)
    for row in rows:
        (section,) = yaml.safe_load(row[-1].strip(" |`")).values()
        (method,) = section.values()
        assert from_recipe(slot)(method).method_name() == row[1]
