"""From pilots to a refresh, by mixtures of many sources: the fit is learned, named, decided by and told of."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.edge.home import Home
from pipelines.edge.pilots import Piloted, Pilots
from pipelines.edge.session import Session
from pipelines.pilot import pilot
from pipelines.recipe import PilotConfig, Recipe
from pipelines.refresh import refresh
from tests.workspaces import tiny, workspace

pytestmark = pytest.mark.pipeline
BUDGET = 6000


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return workspace(tmp_path / "line")


def recipe(mixture: dict[str, Any]) -> Recipe:
    made = tiny(plan={"budget_tokens": BUDGET, "mixture": mixture})
    return made.model_copy(update={"pilot": PilotConfig(validations=2)})


def piloted_and_refreshed(home: Home, mixture: dict[str, Any]) -> tuple[Piloted, Session, tuple[str, ...]]:
    with home.lock():
        found = pilot(Pilots(home, recipe(mixture), prefect=False))
        do = Session(home, recipe({**mixture, "fit": {"path": found.path, "digest": found.digest}}), prefect=False)
        told = refresh(do).told
    return found, do, told


def test_a_graph_is_learned_and_steers_the_refresh(home: Home) -> None:
    knobs = {"method": "skill-graph", "pilot_part": 0.2, "update_steps": 2, "eta": 2.0, "min_edge": 0.115}
    found, do, told = piloted_and_refreshed(home, knobs)
    assert found.plan["checks"] == {"density": 0.75, "steered": True}
    assert "75% of the edges between different skills are there; steered" in told[0]
    planned, drawn = do.made["plan"], do.made["train"].achieved
    assert sum(drawn.values()) == BUDGET
    assert planned.tokens["replay/general"] == 0.3 * BUDGET
    assert abs(drawn["replay/general"] - 0.3 * BUDGET) <= 4  # whole tokens in each of a few rounds
    assert drawn["new/statements"] != planned.tokens["new/statements"], "losses moved the shares"


def test_a_regression_over_proxies_decides_the_refresh(home: Home) -> None:
    knobs = {"method": "regression", "pilot_part": 0.2, "num_proxies": 5, "num_held_out": 1, "draws": 3, "min_r2": -1e9}
    found, do, told = piloted_and_refreshed(home, knobs)
    assert (found.kind, len(found.pilots)) == ("fitted", 6)
    assert {row["task"] for row in found.plan["checks"]["held_out"]} == {"general", "statements", "types"}
    shares = {source: tokens / BUDGET for source, tokens in do.made["plan"].tokens.items()}
    assert shares == pytest.approx(found.plan["recommended"], abs=1e-3)
    assert told == do.made["plan"].told
    assert "after 1,200 tokens, as a proxy" in told[1]
