"""What a refresh leaves in MLflow for people to read."""

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
