"""The README is short, and what it says can be done."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.cli import app
from pipelines.recipe import RECIPES
from tests.workspaces import rows, write_rows

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "data" / "README.md"]


def commands(block: str) -> list[str]:
    return [line.split("#")[0].strip() for line in block.splitlines() if line.split("#")[0].strip()]


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    verbs = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    named = set(re.findall(r"(?:`|^)perennial (?:-w \S+ )?([a-z][a-z-]+)", text, flags=re.MULTILINE))
    assert named <= verbs, named - verbs
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z][a-z-]+)", "\n".join(re.findall(r"`[^`]+`", text)))) <= targets


@pytest.mark.pipeline
def test_the_commands_for_ones_own_model_and_data_run_as_they_stand(tmp_path: Path) -> None:
    block = next(block for block in BLOCKS if "perennial init" in block)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "120"}
    begin, *others = commands(block)
    for number, command in enumerate([begin, *others]):
        where = tmp_path if number == 0 else tmp_path / "mine"
        ran = subprocess.run(
            ["bash", "-c", command], cwd=where, env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, f"{command}: {ran.stdout[-1500:]}{ran.stderr[-1500:]}"
        if number == 0:  # what the README tells its reader to write
            tasks = {"my-docs": {"role": "train"}, "general": {"role": "replay-only"}}
            (where / "mine/data/tasks.yaml").write_text(yaml.safe_dump({"tasks": tasks}, sort_keys=False))
            write_rows(where / "mine/pages/one.jsonl", rows("statements", 0, 60))
            write_rows(where / "mine/pages/two.jsonl", rows("types", 0, 30))
            (where / "mine/my-recipe.yaml").write_text((RECIPES / "tiny.yaml").read_text(encoding="utf-8"))
    assert "ACCEPTED" in ran.stdout
    assert "Hold-out loss" in ran.stdout
