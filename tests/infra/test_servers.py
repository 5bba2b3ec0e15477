"""A team's servers, for real: PostgreSQL, an S3 store, both servers with passwords, TLS, a worker that refreshes."""

import json
import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from pipelines.edge.home import Home
from steps.core.models import digest_of_model
from tests.infra.team import CHOSEN, SECRETS, Team, program, started, watcher, worker
from tests.workspaces import TASKS, land_rows, rows, write_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
REFRESH = ["prefect", "deployment", "run", "refresh/perennial", "--watch"]
PICKLED = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".ckpt")
FORGET = """
from pathlib import Path
from pipelines.edge.home import Home
from pipelines.edge.registry import Registry
print(Registry(Home(Path(WORKSPACE))).retire("1"))
"""


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    folder = Path(tempfile.mkdtemp(prefix="perennial-team-"))
    folder.chmod(0o755)  # PostgreSQL runs as a user of its own
    try:
        with started(folder) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def refreshed(team: Team) -> Team:
    """After a first refresh, by the worker, of the workspace that the set-up made."""
    settings = team.workspace / "perennial.yaml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("recipe: default", "recipe: tiny"))
    (team.workspace / "data" / "tasks.yaml").write_text(yaml.safe_dump({"tasks": TASKS}, sort_keys=False))
    home = Home(team.workspace)
    for task in TASKS:
        land_rows(home, task, rows(task, 0, 80))
    worker(team)
    done = team.run("worker", REFRESH)
    log = team.log("worker").read_text(encoding="utf-8")[-4000:]
    assert "finished successfully in 'Accepted'" in done.stdout, done.stdout + done.stderr + log
    return team


def trust(team: Team) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(team.authority))


def mlflow(team: Team, path: str) -> httpx.Response:
    given = team.given
    user = (given["MLFLOW_WORKER_USERNAME"], given["MLFLOW_WORKER_PASSWORD"])
    return httpx.get(f"http://127.0.0.1:{team.ports['mlflow']}/api/2.0/mlflow/{path}", auth=user, timeout=30)


def ask(team: Team, database: str, question: str, user: str | None = None) -> list[tuple[object, ...]]:
    psycopg2 = pytest.importorskip("psycopg2", reason="pip install -r requirements-servers.lock")
    password = team.given[f"{(user or database).upper()}_DATABASE_PASSWORD"]
    words = {"host": "127.0.0.1", "port": team.ports["postgres"], "dbname": database, "user": user or database}
    connection = psycopg2.connect(**words, password=password)
    try:
        with connection.cursor() as cursor:
            cursor.execute(question)
            found: list[tuple[object, ...]] = cursor.fetchall()
            return found
    finally:
        connection.close()


def stored(team: Team) -> list[str]:
    boto3 = pytest.importorskip("boto3", reason="pip install -r requirements-servers.lock")
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{team.ports['s3']}",
        aws_access_key_id=team.given["S3_ACCESS_KEY"],
        aws_secret_access_key=team.given["S3_SECRET_KEY"],
        region_name=team.given["S3_REGION"],
    )
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=team.given["S3_BUCKET"])
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def test_the_version_that_a_worker_made_is_champion_in_the_registry(refreshed: Team) -> None:
    model = mlflow(refreshed, "registered-models/get?name=perennial").json()["registered_model"]
    assert {alias["alias"]: alias["version"] for alias in model["aliases"]}["champion"] == "1"


def test_its_weights_are_in_the_store_and_nothing_there_is_pickled(refreshed: Team) -> None:
    keys = stored(refreshed)
    assert sum(key.endswith("/artifacts/artifacts/model/model.safetensors") for key in keys) == 1
    assert [key for key in keys if key.endswith(PICKLED)] == []
    left = [file for file in refreshed.workspace.rglob("model.safetensors") if "mlflow" in file.parts]
    assert left == [], "no registry in the workspace"


def test_its_runs_are_in_the_databases(refreshed: Team) -> None:
    ended = ask(refreshed, "mlflow", "SELECT status, count(*) FROM runs GROUP BY status")
    assert dict(ended).keys() == {"FINISHED"}
    assert ("Accepted",) in ask(refreshed, "prefect", "SELECT state_name FROM flow_run WHERE deployment_id IS NOT NULL")


def test_a_second_refresh_finds_nothing_new(refreshed: Team) -> None:
    done = refreshed.run("worker", REFRESH)
    assert "finished successfully in 'Unchanged'" in done.stdout, done.stdout + done.stderr


def test_a_copy_without_weights_gets_them_through_the_proxy_and_they_are_the_same(refreshed: Team) -> None:
    copy = refreshed.folder / "workspaces" / "copy"
    shutil.copytree(refreshed.workspace, copy, ignore=shutil.ignore_patterns(".perennial"))
    command = ["perennial", "-w", str(copy)]
    status = refreshed.run("worker", [*command, "status", "--json"], **refreshed.outside)
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["champion"] == "1"
    again = refreshed.run("worker", [*command, "refresh", "tiny", "--json"], **refreshed.outside)
    assert json.loads(again.stdout)["kind"] == "unchanged", again.stderr
    (cached,) = (copy / ".perennial" / "models").glob("version-*")
    record = json.loads((cached / "version.json").read_text(encoding="utf-8"))
    assert digest_of_model(cached / "artifacts" / "model") == record["model"]["digest"]


def test_a_notice_through_the_proxy_lands_a_file_and_starts_the_deployment(refreshed: Team) -> None:
    inbox = refreshed.folder / "inbox"
    settings = refreshed.workspace / "perennial.yaml"
    content = yaml.safe_load(settings.read_text(encoding="utf-8"))
    content |= {
        "inbox": [{"task": "statements", "address": str(inbox), "settle_seconds": 0.5}],
        "triggers": {"statements": {"documents": 10, "quiet": "1s"}},
        "receiver": {"enabled": True, "port": refreshed.ports["receiver"]},
    }
    settings.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    watcher(refreshed)
    write_rows(inbox / "more.jsonl", rows("statements", 80, 60))
    notice = {"task": "statements", "address": str(inbox)}
    address, trusted = f"https://localhost:{refreshed.ports['https']}/landed", trust(refreshed)
    wrong, right = ({"authorization": f"Bearer {word}"} for word in ("x" * 32, refreshed.given[CHOSEN[0]]))
    assert httpx.post(address, json=notice, headers=wrong, verify=trusted).status_code == 401
    assert httpx.post(address, json=notice, headers=right, verify=trusted).status_code == 202
    judged = "SELECT state_name FROM flow_run WHERE parameters->>'cause' = 'landing' AND state_type = 'COMPLETED'"
    refreshed.wait_for("watcher", lambda: bool(ask(refreshed, "prefect", judged)))
    assert ask(refreshed, "prefect", judged)[0][0] in {"Accepted", "Rejected", "Undecided"}
    assert [event["cause"] for event in Home(refreshed.workspace).ledger() if event["event"] == "attempt"] == [
        "by hand",
        "landing",
    ]


@pytest.mark.parametrize("credentials", [None, ("team", "wrong")], ids=["none", "wrong"])
def test_nobody_enters_without_the_password(team: Team, credentials: tuple[str, str] | None) -> None:
    trusted = trust(team)
    for address in (
        f"{team.outside['PREFECT_API_URL']}/flows/count",
        f"{team.outside['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/experiments/get?experiment_id=0",
    ):
        method = "POST" if address.endswith("count") else "GET"
        assert httpx.request(method, address, auth=credentials, verify=trusted).status_code == 401
    assert httpx.get(f"http://127.0.0.1:{team.ports['s3']}/{team.given['S3_BUCKET']}", auth=credentials).is_error


def test_the_databases_are_closed_to_each_other(team: Team) -> None:
    psycopg2 = pytest.importorskip("psycopg2", reason="pip install -r requirements-servers.lock")
    with pytest.raises(psycopg2.OperationalError, match="permission denied"):
        ask(team, "prefect", "SELECT 1", user="mlflow")


def test_workers_are_no_administrators(team: Team) -> None:
    assert mlflow(team, "users/get?username=admin").status_code == 403
    assert mlflow(team, "experiments/get?experiment_id=0").status_code == 200


def test_mlflow_answers_to_its_own_names_only(team: Team) -> None:
    address = f"http://127.0.0.1:{team.ports['mlflow']}/api/2.0/mlflow/experiments/get?experiment_id=0"
    assert httpx.get(address, headers={"host": "elsewhere.example"}).status_code == 403


def test_plain_http_is_sent_to_https(team: Team) -> None:
    answer = httpx.get(f"http://localhost:{team.ports['http']}/", follow_redirects=False)
    assert answer.status_code == 308
    assert answer.headers["location"].startswith("https://localhost")


def test_large_files_pass_the_proxy_both_ways(team: Team) -> None:
    large = team.folder / "large"
    large.write_bytes(bytes(range(256)) * 2**18)  # 64 MiB
    code = (
        "import mlflow, sys; mlflow.set_experiment('large'); run = mlflow.start_run(); "
        "mlflow.log_artifact(sys.argv[1]); mlflow.end_run(); "
        "print(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path='large'))"
    )
    done = team.run("worker", ["python", "-c", code, str(large)], **team.outside)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[-1]).read_bytes() == large.read_bytes()


def test_setting_up_again_changes_nothing(team: Team) -> None:
    done = team.run("setup", ["python", "infra/setup.py"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert ask(team, "prefect", "SELECT count(*) FROM deployment") == [(1,)]


def test_a_dump_can_be_restored(refreshed: Team) -> None:
    where = ["--host=127.0.0.1", f"--port={refreshed.ports['postgres']}", "--username=postgres"]
    environment = {**os.environ, "PGPASSWORD": refreshed.given["POSTGRES_PASSWORD"]}
    before = ask(refreshed, "mlflow", "SELECT run_uuid, status, name FROM runs ORDER BY run_uuid")
    dump, restore = (program(name, "apt-get install postgresql") for name in ("pg_dump", "pg_restore"))
    file = refreshed.folder / "mlflow.dump"
    with file.open("wb") as made:
        subprocess.run([dump, *where, "--format=custom", "mlflow"], env=environment, stdout=made, check=True)
    back = [restore, *where, "--dbname=mlflow", "--clean", "--if-exists", str(file)]
    subprocess.run(back, env=environment, check=True)
    assert before
    assert ask(refreshed, "mlflow", "SELECT run_uuid, status, name FROM runs ORDER BY run_uuid") == before
    assert mlflow(refreshed, "registered-models/get?name=perennial").status_code == 200


def test_retention_frees_the_store(refreshed: Team) -> None:
    done = refreshed.run("worker", ["python", "-c", FORGET.replace("WORKSPACE", repr(str(refreshed.workspace)))])
    assert int(done.stdout.splitlines()[-1]) > 100_000, done.stderr
    names = [key.rsplit("/", 1)[1] for key in stored(refreshed) if "/models/" in key]
    assert names.count("retired.json") == 1
    assert names.count("model.safetensors") == names.count("version.json") == 1, "the other version keeps its own"


def test_no_secret_is_in_a_log_the_workspace_the_store_or_the_databases(refreshed: Team) -> None:
    names = {*SECRETS, *CHOSEN, "PREFECT_AUTH", "PREFECT_ENCRYPTION_KEY"} - {
        "S3_ACCESS_KEY"
    }  # a name, which the store logs
    hidden = [refreshed.given[name].rsplit(":", 1)[-1].encode() for name in sorted(names)]
    for database in ("prefect", "mlflow"):
        words = ["--host=127.0.0.1", f"--port={refreshed.ports['postgres']}", f"--username={database}", database]
        password = refreshed.given[f"{database.upper()}_DATABASE_PASSWORD"]
        with (refreshed.folder / "logs" / f"{database}.sql").open("wb") as dump:
            command = [program("pg_dump", "apt-get install postgresql"), *words]
            subprocess.run(command, env={**os.environ, "PGPASSWORD": password}, stdout=dump, check=True)
    for folder in ("logs", "workspaces", "s3"):
        for file in filter(Path.is_file, (refreshed.folder / folder).rglob("*")):
            content = file.read_bytes()
            assert not any(secret in content for secret in hidden), file
