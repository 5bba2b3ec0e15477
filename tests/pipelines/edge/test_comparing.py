from pathlib import Path

import pytest

from pipelines.edge.comparing import compare_versions
from pipelines.edge.home import Home
from tests.workspaces import run, tiny, workspace


@pytest.fixture(scope="module")
def refreshed(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A workspace after one refresh; tests that use it only read."""
    home = workspace(tmp_path_factory.mktemp("comparing"), documents=60)
    assert run(home).kind == "accepted"
    return home


@pytest.mark.pipeline
def test_two_versions_are_compared_as_their_refresh_did(refreshed: Home) -> None:
    made = (refreshed.root / "data/compare/matrices.jsonl").read_bytes()
    told: list[str] = []
    found = compare_versions(
        refreshed, "base", "champion", tiny(), lambda stage, done, total, what: told.append(f"{stage} {what}")
    )
    assert (found.first, found.second, found.notes) == ("base", "1", ())
    assert (refreshed.root / found.changes.path / "matrices.jsonl").read_bytes() == made
    assert found.changes.divergence["base"] == found.changes.divergence["parent"]
    assert found.changes.contrasts
    assert "compare tensors" in told


@pytest.mark.pipeline
def test_the_other_way_round_the_update_is_as_long_and_the_base_is_still_the_base(refreshed: Home) -> None:
    there, back = (compare_versions(refreshed, *pair, tiny()).changes for pair in (("base", "1"), ("1", "base")))
    assert there.whole is not None
    assert back.whole is not None
    assert back.whole.norm == pytest.approx(there.whole.norm)
    assert [each.nats_per_token for each in back.divergence["base"].values()] == pytest.approx([0.0] * 3, abs=1e-6)
    assert min(each.nats_per_token for each in back.divergence["parent"].values()) > 0.01


def test_before_the_first_refresh_there_are_weights_alone_to_compare(tmp_path: Path) -> None:
    found = compare_versions(workspace(tmp_path, documents=2), "base", "base", tiny())
    assert found.notes == ("no hold-outs here yet: only weights were compared",)
    assert found.changes.whole is not None
    assert found.changes.whole.norm == 0.0


def test_a_version_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="7"):
        compare_versions(workspace(tmp_path, documents=2), "base", "7", tiny())
