"""An attempt's identity, and what a session refuses."""

from pathlib import Path

from pipelines.edge.home import Home
from pipelines.edge.registry import base_version
from pipelines.edge.session import attempt_of, pending
from steps.core.artifacts import Landed, Model
from tests.workspaces import land_rows, rows, tiny, workspace

PARENT = base_version(Model(digest="d", path="m", num_parameters=1))


def attempt(home: Home, **changes: dict[str, float]) -> str:
    return attempt_of(home, PARENT, tiny(**changes), pending(home, PARENT), again=False)


def test_parent_recipe_and_batches_make_an_attempt(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=5)
    before = attempt(home)
    assert attempt(home) == before
    assert attempt(home, plan={"mixture": {"method": "fixed", "replay_share": 0.1}}) != before
    land_rows(home, "types", rows("types", 5, 5))
    assert attempt(home) != before


def test_where_a_workspace_lies_is_no_part_of_an_attempt(tmp_path: Path) -> None:
    one, two = (workspace(tmp_path / name, documents=5) for name in ("one", "two"))
    (two.root / "perennial.yaml").write_text("name: other\nthreads: 1\ndevice: cpu\n")
    assert attempt(one) == attempt(two)


def test_again_is_an_attempt_of_its_own_once_there_was_a_verdict(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=5)
    found: dict[str, Landed] = pending(home, PARENT)
    first = attempt(home)
    assert attempt_of(home, PARENT, tiny(), found, again=True) == first
    home.record("verdict", attempt=first, verdict="rejected")
    assert attempt_of(home, PARENT, tiny(), found, again=True) == f"{first}-2"
    home.record("verdict", attempt=f"{first}-2", verdict="rejected")
    assert attempt_of(home, PARENT, tiny(), found, again=True) == f"{first}-3"


def test_a_held_batch_is_not_pending(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=5)
    name = pending(home, PARENT)["types"].batches[0].name
    home.record("hold", task="types", batch=name, why="a look first")
    assert "types" not in pending(home, PARENT)
