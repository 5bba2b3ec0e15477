from pathlib import Path

import pytest
import torch

from steps.core.artifacts import Model, Trained, Validation
from steps.core.front import FRONT, read_front
from steps.core.models import load_model
from steps.merge import MergeConfig, merge
from tests.tiny_models import STATE, parent_model, tiny_workspace, validation_items

NOTHING = Validation(digest="none", path="data/split", num_items={})


def after(model: Model, *checkpoints: Model) -> Trained:
    """What a training run left that ended with this model."""
    return Trained(
        digest=model.digest,
        model=model,
        state=STATE,
        num_steps=4,
        achieved={"new/alpha": 10, "replay/general": 10},
        history="data/train/history.jsonl",
        checkpoints=checkpoints,
    )


def config(method: str, **knobs: float) -> MergeConfig:
    return MergeConfig.model_validate({"rule": {"method": method, **knobs}})


def test_none_hands_the_trained_model_on_and_writes_nothing(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path, "merge")
    parent, trained = parent_model(workspace, "parent"), parent_model(workspace, "trained", seed=1)
    assert merge(workspace, config("none"), parent, after(trained), NOTHING) == trained
    assert list(workspace.path.iterdir()) == []


def test_linear_makes_a_model_that_loads(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path, "merge")
    parent, trained = parent_model(workspace, "parent"), parent_model(workspace, "trained", seed=1)
    made = merge(workspace, config("linear", weight=0.5), parent, after(trained), NOTHING)
    assert made.path == "data/merge/model"
    assert made.digest not in (parent.digest, trained.digest)
    assert load_model(workspace.at(made.path)).num_parameters() == parent.num_parameters
    assert [path.name for path in workspace.path.iterdir()] == ["model"]


@pytest.mark.parametrize(("weight", "name"), [(1.0, "trained"), (0.0, "parent")])
def test_linear_at_its_ends_has_the_digest_of_one_of_the_two(tmp_path: Path, weight: float, name: str) -> None:
    workspace = tiny_workspace(tmp_path, "merge")
    models = {"parent": parent_model(workspace, "parent"), "trained": parent_model(workspace, "trained", seed=1)}
    made = merge(workspace, config("linear", weight=weight), models["parent"], after(models["trained"]), NOTHING)
    assert made.digest == models[name].digest


def test_checkpoints_of_the_run_take_part(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path, "merge")
    parent, first, last = (parent_model(workspace, f"model-{seed}", seed) for seed in range(3))
    made = merge(workspace, config("average", num_checkpoints=1), parent, after(last, first), NOTHING)
    name = "model.norm.weight"
    found, one, other = (load_model(workspace.at(each.path)).state_dict()[name] for each in (made, first, last))
    assert torch.allclose(found, (one + other) / 2)


def test_chance_is_the_recipes_seed(tmp_path: Path) -> None:
    digests = set()
    for seed in (1, 1, 2):
        workspace = tiny_workspace(tmp_path, "merge", seed)
        parent, trained = parent_model(workspace, "parent"), parent_model(workspace, "trained", seed=1)
        digests.add(merge(workspace, config("dare"), parent, after(trained), NOTHING).digest)
    assert len(digests) == 2


def test_a_sweep_leaves_its_front_beside_the_model(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path, "merge")
    parent, trained = parent_model(workspace, "parent"), parent_model(workspace, "trained", seed=1)
    section = MergeConfig.model_validate(
        {"rule": {"method": "sweep", "over": "linear", "values": [0.5, 1.0], "validation_items": 2}}
    )
    made = merge(workspace, section, parent, after(trained), validation_items(workspace))
    assert sorted(path.name for path in workspace.path.iterdir()) == [FRONT, "model"]
    assert not (workspace.at(made.path) / FRONT).exists(), "what stands in the model's folder is shipped"
    front = read_front(workspace.at(made.path))
    assert front is not None
    assert front.trained == ("alpha",)
    alone = merge(workspace, config("linear", weight=front.chosen.value), parent, after(trained), NOTHING)
    assert made.digest == alone.digest


def test_merging_again_makes_the_same_bytes(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path, "merge")
    parent, trained = parent_model(workspace, "parent"), parent_model(workspace, "trained", seed=1)
    first, again = (merge(workspace, config("linear", weight=0.3), parent, after(trained), NOTHING) for _ in range(2))
    assert first == again


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = tiny_workspace(tmp_path, "merge")
    parent, trained = parent_model(workspace, "parent"), parent_model(workspace, "trained", seed=1)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left on device; free disk space and run again"):
        merge(workspace, config("linear", weight=0.5), parent, after(trained), NOTHING)
    assert list(workspace.path.iterdir()) == []


def test_a_section_loads_dumps_and_loads_equal() -> None:
    section = config("linear", weight=0.3)
    assert MergeConfig.model_validate(section.model_dump(mode="json")) == section
    assert section.model_dump() == {"rule": {"method": "linear", "weight": 0.3}}
