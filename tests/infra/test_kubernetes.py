"""infra/kubernetes/: its manifests against Kubernetes' schemas, its job template through Prefect's own worker."""

import asyncio
import json
import uuid
from typing import Any

import pytest
import yaml

from tests.infra import compose

FOLDER = compose.INFRA / "kubernetes"
MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all((FOLDER / "perennial.yaml").read_text(encoding="utf-8")))
TEMPLATE: dict[str, Any] = json.loads((FOLDER / "base-job-template.json").read_text(encoding="utf-8"))


def named(kind: str, name: str) -> dict[str, Any]:
    return next(found for found in MANIFESTS if (found["kind"], found["metadata"]["name"]) == (kind, name))


def check(manifest: dict[str, Any]) -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    schemas.validate(manifest, schemas.latest_version(), strict=True)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda found: f"{found['kind']} {found['metadata']['name']}")
def test_the_manifests_fit_their_schemas(manifest: dict[str, Any]) -> None:
    check(manifest)


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    """The job that Prefect's worker makes for a run of the deployment; importing it takes half a minute here."""
    worker = pytest.importorskip("prefect_kubernetes.worker", reason="pip install -r requirements-servers.lock")
    from prefect.client.schemas.objects import FlowRun

    kind = worker.KubernetesWorkerJobConfiguration
    made = asyncio.run(kind.from_template_and_values(TEMPLATE, {"image": "perennial:1", "gpus": 1}))
    made.prepare_for_flow_run(FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4(), name="landing"))
    manifest: dict[str, Any] = made.job_manifest
    return manifest


@pytest.mark.slow
def test_the_worker_makes_a_job_that_fits_its_schema(job: dict[str, Any]) -> None:
    pod = job["spec"]["template"]["spec"]
    for word in ("parallelism", "completions"):  # Prefect wants them there; Kubernetes passes over them
        pod.pop(word)
    check(job)


@pytest.mark.slow
def test_a_job_gets_its_volume_its_secrets_and_its_gpu(job: dict[str, Any]) -> None:
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "perennial"}}]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    claim = pod["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert named("PersistentVolumeClaim", claim)["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert (
        (compose.INFRA / "Dockerfile").read_text("utf-8").count(f"VOLUME {container['volumeMounts'][0]['mountPath']}")
    )


@pytest.mark.slow
def test_a_job_may_do_nothing_in_the_cluster(job: dict[str, Any]) -> None:
    pod = job["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert named("ServiceAccount", pod["serviceAccountName"])["automountServiceAccountToken"] is False
    assert [found["subjects"][0]["name"] for found in MANIFESTS if found["kind"] == "RoleBinding"] == ["worker"]


@pytest.mark.slow
def test_nothing_runs_as_root_or_gains_privileges(job: dict[str, Any]) -> None:
    for pod in (job["spec"]["template"]["spec"], named("Deployment", "worker")["spec"]["template"]["spec"]):
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_no_secret_is_written_down() -> None:
    assert [found for found in MANIFESTS if found["kind"] == "Secret"] == []
    (container,) = named("Deployment", "worker")["spec"]["template"]["spec"]["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    prefix = "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET"
    assert (variables[f"{prefix}_NAME"], variables[f"{prefix}_KEY"]) == ("perennial", "PREFECT_API_AUTH_STRING")
