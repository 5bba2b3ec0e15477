"""What a refresh leaves in MLflow for people to read."""

import re
from pathlib import Path

import pytest

from tests.workspaces import run, workspace

pytestmark = pytest.mark.pipeline


def test_the_run_shows_what_contracts_found_and_what_clean_did(tmp_path: Path) -> None:
    from mlflow import MlflowClient
    from mlflow.artifacts import load_text

    home = workspace(tmp_path, documents=60)
    outcome = run(home)
    client = MlflowClient()
    top = {file.path for file in client.list_artifacts(outcome.run_id)}
    assert {"data-docs", "clean", "plots", "lineage", "verdict.json", "outcome.json", "report.md"} <= top
    page = load_text(f"{client.get_run(outcome.run_id).info.artifact_uri}/clean/clean.html")
    assert all(f'id="task-{task}"' in page for task in ("statements", "types", "general"))
    index = load_text(f"{client.get_run(outcome.run_id).info.artifact_uri}/data-docs/index.html")
    links = [f"data-docs/{link}" for link in re.findall(r'href="([^"]+)"', index)]
    assert len(links) == 3, "the contract of each task; there is nothing to compare a batch with"
    for link in links:
        assert link in {file.path for file in client.list_artifacts(outcome.run_id, link.rpartition("/")[0])}
