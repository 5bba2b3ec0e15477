"""What a refresh leaves in MLflow for people to read."""

import re
from pathlib import Path

import pytest

from pipelines.edge.facts import read_facts
from pipelines.edge.logbook import log_card
from pipelines.edge.registry import Registry
from pipelines.edge.steps import run_step
from tests.builders import contents
from tests.workspaces import run, workspace

pytestmark = pytest.mark.pipeline


def test_the_run_shows_what_changed_in_weights_and_words_and_the_stage_makes_it_again_bit_for_bit(
    tmp_path: Path,
) -> None:
    from mlflow import MlflowClient
    from mlflow.artifacts import load_dict, load_text

    home = workspace(tmp_path, documents=60)
    outcome = run(home)
    found = MlflowClient().get_run(outcome.run_id)
    metrics = {name for name in found.data.metrics if name.startswith("compare/")}
    tasks = [f"kl_{against}_{task}" for against in ("base", "parent") for task in ("statements", "types", "general")]
    names = ("relative_norm", "norm", "effective_rank", "intruders", "gap", *tasks)
    assert metrics == {f"compare/{name}" for name in names}
    assert found.data.metrics["compare/relative_norm"] > 0
    artifacts = found.info.artifact_uri
    assert "plots/weights.png" in {file.path for file in MlflowClient().list_artifacts(found.info.run_id, "plots")}
    assert load_text(f"{artifacts}/compare/matrices.jsonl").count('"kind":"self_attn.q_proj"') == 2
    table = load_dict(f"{artifacts}/compare/contrasts.json")
    assert table["data"]
    report = load_text(f"{artifacts}/report.md")
    assert "### What changed in the model\n- weights: the update's norm is" in report
    assert "KL from the base in nats per token: general " in report

    asked: list[str] = []
    before = contents(home.root / "data/compare")
    told = run_step(home, "compare", None, None, lambda stage, done, total, what: asked.append(stage))
    assert told == "compare: made"
    assert asked == [], "read back from its record"
    (home.root / "data/compare/record.json").unlink()
    run_step(home, "compare", None, None, lambda stage, done, total, what: asked.append(stage))
    assert set(asked) == {"compare"}
    assert contents(home.root / "data/compare") == before


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

    registry = Registry(home)
    text = registry.read_file("1", "README.md")
    assert text is not None
    assert text == load_text(f"{client.get_run(outcome.run_id).info.artifact_uri}/README.md")
    assert "**Accepted.**" in text
    counted = read_facts(registry, "1").sources
    assert counted is not None
    assert counted.whole
    assert {task: list(found) for task, found in counted.new.items()} == {
        "statements": ["PSF-2.0"],
        "types": ["PSF-2.0"],
    }
    assert list(counted.line_replayed) == ["general"]
    described = registry.client.get_model_version(registry.name, "1").description
    assert described.startswith("**Version 1 accepted**")
    assert f"# {registry.name}, version 1" in described
    log_card(registry, "1")
    assert registry.client.get_model_version(registry.name, "1").description == described, "written once more, the same"
