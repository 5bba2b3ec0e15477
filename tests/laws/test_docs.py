"""What the documentation says to type can be typed: every `sh` block of every page runs as it stands.

A page's blocks run in order, in one shell. They find a workspace `mine` in which two tasks have landed, or make it
themselves; what leads to other machines is in `console` blocks, and is only read.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.edge.home import Home
from pipelines.recipe import RECIPES
from pipelines.service.supervisor import down
from tests.workspaces import land_rows, rows, workspace, write_rows

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = [page for page in sorted(DOCS.glob("*.md")) if "```sh\n" in page.read_text(encoding="utf-8")]
TASKS = {
    name: {"role": role, "licence": "PSF-2.0"} for name, role in (("my-docs", "train"), ("general", "replay-only"))
}
MAKES_ITS_OWN = "perennial init mine"


def blocks(page: Path) -> str:
    return "\n".join(re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL))


def furnish(folder: Path, *, landed: bool) -> None:
    """What a reader has by then: tasks of their own, a recipe, a folder of pages."""
    home = workspace(folder / "mine", documents=2) if landed else Home(folder / "mine")
    home.root.mkdir(exist_ok=True)
    write_rows(
        folder / "pages/one.jsonl", [{**row, "key": f"my-docs/{n}"} for n, row in enumerate(rows("types", 0, 90))]
    )
    write_rows(folder / "mine/pages/two.jsonl", rows("statements", 70, 30))
    (home.root / "my-recipe.yaml").write_text((RECIPES / "tiny.yaml").read_text(encoding="utf-8"))
    if not landed:
        return
    (home.root / "data/tasks.yaml").write_text(yaml.safe_dump({"tasks": TASKS}, sort_keys=False), encoding="utf-8")
    content = {"name": "mine", "recipe": "tiny", "threads": 1, "triggers": {"*": {"quiet": 5}}}
    servers = {"servers": {"prefect_port": 4700, "mlflow_port": 5700}}
    (home.root / "perennial.yaml").write_text(yaml.safe_dump(content | servers), encoding="utf-8")
    for task, source in (("my-docs", "statements"), ("general", "general")):
        land_rows(home, task, rows(source, 0, 70))


@pytest.mark.pipeline
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_run_as_they_stand(page: Path, tmp_path: Path) -> None:
    script = blocks(page)
    own = MAKES_ITS_OWN in script
    furnish(tmp_path, landed=not own)
    if own:  # what the page tells its reader to write
        given = json.dumps(yaml.safe_dump({"tasks": TASKS}, sort_keys=False))
        if "data/tasks.yaml" in script:
            script = script.replace("cd mine", f"cd mine && printf {given} > data/tasks.yaml", 1)
        (tmp_path / "mine/data").mkdir(exist_ok=True)
    environment = {
        name: value for name, value in os.environ.items() if name not in {"PREFECT_API_URL", "MLFLOW_TRACKING_URI"}
    }
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "120"}
    told = tmp_path / "told"
    with told.open("wb") as file:
        ran = subprocess.run(
            ["bash", "-euxc", script],
            cwd=tmp_path if own else tmp_path / "mine",
            env=environment,
            stdout=file,
            stderr=file,
            check=False,
        )
    for place in tmp_path.rglob("perennial.yaml"):
        down(Home(place.parent))
    assert ran.returncode == 0, f"{page.name}: {told.read_text(encoding='utf-8', errors='replace')[-3000:]}"
