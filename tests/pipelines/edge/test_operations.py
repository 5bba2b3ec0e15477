"""What a person does by hand, refused where it would break a rule; the rest is tested on whole lines."""

from pathlib import Path

import pytest

from pipelines.edge.home import Home
from pipelines.edge.operations import preview, promote_by_hand, roll_back, set_aside, status
from tests.workspaces import tiny, workspace


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return workspace(tmp_path, documents=5)


def test_a_batch_that_is_not_there_is_answered_with_those_that_are(home: Home) -> None:
    with pytest.raises(ValueError, match=r"types: no batch '0007'; there are: 0001-"):
        set_aside(home, "hold", "types", "0007", "why not")


def test_only_a_batch_that_is_aside_is_released(home: Home) -> None:
    with pytest.raises(ValueError, match="wanted a batch that is held or discarded"):
        set_aside(home, "release", "types", "0001", "why not")
    assert set_aside(home, "hold", "types", "0001", "a look").startswith("0001-")
    assert set_aside(home, "release", "types", "0001", "fine").startswith("0001-")


def test_a_line_without_versions_has_nothing_to_promote_or_roll_back(home: Home) -> None:
    with pytest.raises(ValueError, match="no version was accepted yet"):
        roll_back(home, "why not")
    with pytest.raises(ValueError, match="no version 1; there are: none yet"):
        promote_by_hand(home, "1", "why not")


def test_a_dry_run_says_what_would_be_consumed_and_makes_nothing(home: Home) -> None:
    found = preview(home, tiny())
    assert found["starts"]
    assert {task: len(names) for task, names in found["batches"].items()} == {"statements": 1, "types": 1, "general": 1}
    assert found["train_tokens"] == 8000
    assert not (home.root / "data" / "inputs.json").exists()


def test_the_state_of_a_new_workspace(home: Home) -> None:
    found = status(home)
    assert found["champion"] is None
    assert found["versions"] == []
    assert len(found["tasks"]["types"]["pending"]) == 1
