"""MLflow without a document: which versions knew it, what their records name now, what can still be read."""

import json
from pathlib import Path

import pytest

from pipelines.edge.forget.registered import Touched, new_identities, rewrite_versions, scrub_runs, touched
from pipelines.edge.forget.search import find
from pipelines.edge.forget.segments import rewrite_segments
from pipelines.edge.forget.target import REMOVED
from pipelines.edge.forget.tombstones import hash_of
from pipelines.edge.home import Home
from pipelines.edge.operations import reproduce
from pipelines.edge.registry import Registry
from pipelines.edge.session import Inputs
from steps.core.manifest import Tombstone
from tests.pipelines.edge.forget.lines import KEY, TEXT, line, shown

pytestmark = pytest.mark.pipeline

STONE = Tombstone(key=hash_of(KEY), content=None, when="t", why="w", who="x")


def how(home: Home) -> dict[str, str]:
    found = find(home.root, [KEY], [])
    batches = [(hit.task, hit.batch) for hit in found.hits]
    return {each.version: each.how for each in touched(home, Registry(home), found.target, batches)}


def test_a_version_trained_on_it_or_may_have_or_stands_on_one_that_did(tmp_path: Path) -> None:
    assert how(line(tmp_path / "written")) == {"1": "trained", "2": "descends"}
    assert how(line(tmp_path / "older", used=False)) == {"1": "may have trained", "2": "may have trained"}


def test_records_name_what_is_there_and_reproduce_refuses(tmp_path: Path) -> None:
    home = line(tmp_path)
    registry, target = Registry(home), find(home.root, [KEY], []).target
    before = [registry.version(number) for number in ("1", "2")]
    moved = rewrite_segments(home.root, target, [STONE])
    digests = new_identities(home, registry, moved)
    versions = [
        Touched(version="1", verdict="accepted", how="trained"),
        Touched(version="2", verdict="accepted", how="descends"),
    ]
    for _ in range(2):  # again, as after a crash
        rewrite_versions(home, registry, moved, digests, [STONE], versions)
    after = [registry.version(number) for number in ("1", "2")]
    assert [version.digest for version in after] == [digests[version.digest] for version in before]
    assert all((home.root / segment.path).is_dir() for version in after for segment in version.buffer.segments)
    assert after[0].buffer.num_tokens != before[0].buffer.num_tokens
    inputs = Inputs.model_validate_json((home.root / "data/inputs.json").read_bytes())
    assert (inputs.parent.digest, inputs.parent.buffer) == (after[0].digest, after[0].buffer)
    assert (registry.folder("2") / "forgotten.jsonl").read_text().count("\n") == 1
    with pytest.raises(ValueError, match="version 1 trained on documents that were forgotten since"):
        reproduce(home, "1")


def test_nothing_of_it_can_be_read_in_runs_tags_and_descriptions(tmp_path: Path) -> None:
    home = line(tmp_path)
    registry, target = Registry(home), find(home.root, [KEY], []).target
    assert scrub_runs(home, registry, target) == 2 * 4
    assert scrub_runs(home, registry, target) == 0
    run = registry.client.get_run(registry.get("1").tags["perennial.run"])
    assert run.data.tags["mlflow.note.content"] == f"# Refresh\n{REMOVED}\n"
    assert registry.client.get_model_version(registry.name, "1").description == f"{REMOVED}\n"
    pages = (home.hidden / "mlflow").rglob("clean.html")
    assert [f"<p>one</p><p>{REMOVED}</p>" in page.read_text() for page in pages] == [True, True]
    assert [json.loads(path.read_text()) for path in (home.hidden / "mlflow").rglob("outcome.json")] == [
        {"samples": {"types": REMOVED}}
    ] * 2
    assert not [name for name in shown(home, "yellow house", TEXT[:30]) if "/mlflow/" in name]
