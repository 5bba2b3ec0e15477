"""What the deployment's flow makes of a budget, a judged attempt and a busy workspace. Whole: test_supervisor."""

from pathlib import Path

import pytest
import yaml

from pipelines.edge.attempts import run_refresh
from pipelines.edge.home import Home
from pipelines.edge.operations import promote_by_hand, status
from pipelines.service import flows
from tests.workspaces import rows, tiny, workspace, write_rows


@pytest.fixture(autouse=True)
def _prefect_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    (tmp_path / "prefect").mkdir()


def configured(folder: Path, **content: object) -> Home:
    home = workspace(folder, documents=60)
    (home.root / "perennial.yaml").write_text(yaml.safe_dump({"recipe": "tiny", **content}), encoding="utf-8")
    return home


def test_nothing_starts_beyond_the_budget_but_what_a_person_starts(tmp_path: Path) -> None:
    home = configured(tmp_path, budget={"runs": 1})
    home.record("attempt", attempt="a", cause="schedule:nightly", batches={})
    outcome = flows._refresh(home, None, "landing")
    assert (outcome.kind, outcome.reasons) == ("unchanged", ("budget spent: 1 of 1 refreshes in 24 hours",))


def test_a_busy_workspace_is_left_alone_once_the_inboxes_were_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "LONGEST_WAIT_SECONDS", 0.0)
    home = configured(tmp_path, inbox=[{"task": "types", "address": "inbox/types", "settle_seconds": 0.0}])
    write_rows(home.root / "inbox/types/new.jsonl", rows("types", 60, 20))
    with home.lock():
        outcome = flows._refresh(home, None, "landing")
    assert outcome.kind == "unchanged"
    assert "busy" in outcome.reasons[0]
    assert len(status(home)["tasks"]["types"]["pending"]) == 2


@pytest.mark.pipeline
def test_a_candidate_waits_for_approval_is_not_made_again_and_a_person_finishes_it(tmp_path: Path) -> None:
    home = configured(tmp_path, approval=True)
    first = run_refresh(home, tiny(), prefect=False, cause="landing")
    assert (first.kind, first.reasons[0]) == ("undecided", "awaiting approval: `perennial promote 1` accepts it")
    assert status(home)["champion"] is None
    again = flows._refresh(home, None, "schedule:nightly")
    assert again.reasons == ("the same attempt was judged before: undecided, version 1",)
    assert promote_by_hand(home, "1", "read it, good") == "champion: base -> 1"
    found = status(home)
    assert found["champion"] == "1"
    assert all(task["pending"] == [] for task in found["tasks"].values())
    assert flows._refresh(home, None, "landing").reasons == ("nothing new has landed since the last accepted refresh",)
