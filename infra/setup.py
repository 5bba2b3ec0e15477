"""Makes ready what a worker needs, and may run again at any time; compose.yaml runs it before the worker starts.

MLflow's user for workers, the workspace, the work pool, and the workspace's deployment as prefect.yaml has it.
"""

import os
import subprocess
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.server.auth.client import AuthServiceClient

from pipelines.edge.home import Home
from pipelines.edge.workspaces import make_workspace

DEPLOYMENTS = Path(__file__).resolve().parent / "prefect.yaml"
POOL = "perennial"


def make_user(name: str, password: str) -> None:
    """A user who is no administrator and manages what it makes; one that exists gets the password."""
    users = AuthServiceClient(os.environ["MLFLOW_TRACKING_URI"])
    try:
        users.create_user(name, password)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        users.update_user_password(name, password)


def make_deployment(name: str) -> None:
    """The work pool, and the deployment whose runs its workers take."""
    for words in (
        ["work-pool", "create", POOL, "--type", "process", "--overwrite"],
        ["deploy", "--prefect-file", str(DEPLOYMENTS), "--name", name],
    ):
        subprocess.run(["prefect", "--no-prompt", *words], check=True)  # noqa: S603, S607 (our own words)


def main() -> None:
    """Everything, in order."""
    worker = os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]
    os.environ["MLFLOW_TRACKING_USERNAME"] = os.environ["MLFLOW_ADMIN_USERNAME"]
    os.environ["MLFLOW_TRACKING_PASSWORD"] = os.environ["MLFLOW_ADMIN_PASSWORD"]
    make_user(*worker)
    workspace = Path(os.environ["PERENNIAL_WORKSPACE"])
    if not (workspace / "data" / "tasks.yaml").exists():
        list(make_workspace(workspace))
    make_deployment(Home(workspace).settings.name)


if __name__ == "__main__":
    main()
