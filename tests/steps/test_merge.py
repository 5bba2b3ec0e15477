from pathlib import Path

import pytest

from steps.core.artifacts import Validation
from steps.core.models import load_model
from steps.merge import MergeConfig, merge
from tests.tiny_models import parent_model, tiny_workspace

NOTHING = Validation(digest="none", path="data/split", num_items={})


def config(method: str, **knobs: float) -> MergeConfig:
    return MergeConfig.model_validate({"rule": {"method": method, **knobs}})


def test_none_hands_the_trained_model_on_and_writes_nothing(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path, "merge")
    parent, trained = parent_model(workspace, "parent"), parent_model(workspace, "trained", seed=1)
    assert merge(workspace, config("none"), parent, trained, NOTHING) == trained
    assert list(workspace.path.iterdir()) == []


def test_linear_makes_a_model_that_loads(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path, "merge")
    parent, trained = parent_model(workspace, "parent"), parent_model(workspace, "trained", seed=1)
    made = merge(workspace, config("linear", weight=0.5), parent, trained, NOTHING)
    assert made.path == "data/merge/model"
    assert made.digest not in (parent.digest, trained.digest)
    assert load_model(workspace.at(made.path)).num_parameters() == parent.num_parameters
    assert [path.name for path in workspace.path.iterdir()] == ["model"]


@pytest.mark.parametrize(("weight", "name"), [(1.0, "trained"), (0.0, "parent")])
def test_linear_at_its_ends_has_the_digest_of_one_of_the_two(tmp_path: Path, weight: float, name: str) -> None:
    workspace = tiny_workspace(tmp_path, "merge")
    models = {"parent": parent_model(workspace, "parent"), "trained": parent_model(workspace, "trained", seed=1)}
    made = merge(workspace, config("linear", weight=weight), models["parent"], models["trained"], NOTHING)
    assert made.digest == models[name].digest


def test_merging_again_makes_the_same_bytes(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path, "merge")
    parent, trained = parent_model(workspace, "parent"), parent_model(workspace, "trained", seed=1)
    first, again = (merge(workspace, config("linear", weight=0.3), parent, trained, NOTHING) for _ in range(2))
    assert first == again


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = tiny_workspace(tmp_path, "merge")
    parent, trained = parent_model(workspace, "parent"), parent_model(workspace, "trained", seed=1)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left on device; free disk space and run again"):
        merge(workspace, config("linear", weight=0.5), parent, trained, NOTHING)
    assert list(workspace.path.iterdir()) == []


def test_a_section_loads_dumps_and_loads_equal() -> None:
    section = config("linear", weight=0.3)
    assert MergeConfig.model_validate(section.model_dump(mode="json")) == section
    assert section.model_dump() == {"rule": {"method": "linear", "weight": 0.3}}
