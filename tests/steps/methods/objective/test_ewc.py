import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from steps.core.artifacts import TrainingState
from steps.core.models import load_model
from steps.core.training_state import digest_of_state
from steps.core.workspace import Workspace
from steps.methods.objective.ewc import Ewc
from tests.steps.methods.objective.views import begun, changes_nothing
from tests.tiny_models import STATE, tiny_model, tiny_workspace
from tests.training import ends_like_one_never_stopped, run, section

NAME = "model.layers.1.mlp.down_proj.weight"
BOTH = ["next-token", "ewc"]


def fisher_of(root: Path, blocks: Any, *, by_token: bool) -> torch.Tensor:
    """The mean of squared gradients, written out: one forward pass for each."""
    parent = load_model(root / "parent")
    parameter = dict(parent.named_parameters())[NAME]
    total, num_tokens = torch.zeros_like(parameter), 0
    for batch in blocks.replayed(1):
        tokens = batch.input_ids[0]
        groups = [[t] for t in range(1, len(tokens))] if by_token else [list(range(1, len(tokens)))]
        for group in groups:
            parent.zero_grad()
            log_p_TV = torch.log_softmax(parent(input_ids=tokens[None]).logits[0], dim=-1)
            sum(log_p_TV[t - 1, tokens[t]] for t in group).backward()
            assert parameter.grad is not None
            total += parameter.grad**2
            num_tokens += len(group)
    return total.detach() / num_tokens


@pytest.mark.parametrize("fisher", ["token", "row"])
def test_the_fisher_is_the_mean_of_squared_gradients_at_the_parent(tmp_path: Path, fisher: str) -> None:
    start = tiny_model(tmp_path / "plateau", seed=1)  # where training begins does not matter
    learner, blocks, _ = begun(tmp_path, [{"method": "ewc", "fisher": fisher}], start=start)
    found = learner.memory["ewc"][f"fisher/{NAME}"]
    assert torch.allclose(found, fisher_of(tmp_path, blocks, by_token=fisher == "token"), rtol=1e-3, atol=1e-10)
    assert torch.equal(learner.memory["ewc"][f"parent/{NAME}"], load_model(tmp_path / "parent").state_dict()[NAME])


def test_half_the_weighted_squares() -> None:
    memory = {"fisher/a": torch.tensor([2.0, 0.0, 1.0]), "parent/a": torch.tensor([0.0, 0.0, 1.0])}
    found = Ewc(weight=10.0).penalty({"a": torch.tensor([1.0, 5.0, 4.0])}, memory)
    assert found is not None
    assert float(found) == pytest.approx(10 / 2 * (2 * 1 + 0 + 1 * 9))


def test_its_scale_is_told_beside_lambda(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        learner, _, told = begun(tmp_path, [{"method": "ewc", "weight": 7.0}])
    entries = torch.cat([t.flatten() for name, t in learner.memory["ewc"].items() if name.startswith("fisher/")])
    assert told["train/ewc_fisher_mean"] == pytest.approx(float(entries.mean()), rel=1e-4)
    assert told["train/ewc_fisher_max"] == float(entries.max())
    assert "ewc: lambda 7; Fisher over 62 replayed tokens (by row): mean" in caplog.text


def kept(workspace: Workspace, tensors: dict[str, torch.Tensor]) -> TrainingState:
    """The training state of a version whose Fisher this is."""
    folder = workspace.root / "data" / "state" / "before"
    folder.mkdir(parents=True)
    save_file(tensors, folder / "objective-ewc.safetensors")
    return TrainingState(digest=digest_of_state(folder), path=workspace.relative(folder))


def test_the_last_versions_fisher_is_added_with_decay_and_what_is_not_trained_is_carried_on(tmp_path: Path) -> None:
    first, _, _ = begun(tmp_path / "a", "ewc")
    shape = first.trained[NAME].shape
    before = {NAME: torch.full(shape, 2.0), "model.gone.weight": torch.tensor([4.0])}
    state = kept(tiny_workspace(tmp_path / "b"), before)
    second, _, _ = begun(tmp_path / "b", [{"method": "ewc", "decay": 0.5}], state=state)
    memory, alone = second.memory["ewc"], first.memory["ewc"]
    assert torch.allclose(memory[f"fisher/{NAME}"], alone[f"fisher/{NAME}"] + 1.0)
    left = second.objectives[0].keep(memory)
    assert torch.equal(left[NAME], memory[f"fisher/{NAME}"])
    assert left["model.gone.weight"].tolist() == [2.0]
    assert set(left) == {*second.trained, "model.gone.weight"}


def test_a_fisher_of_another_model_is_refused(tmp_path: Path) -> None:
    state = kept(tiny_workspace(tmp_path), {NAME: torch.zeros(2, 2)})
    with pytest.raises(ValueError, match=rf"Fisher of {NAME} has shape \[2, 2\], the parent's parameter"):
        begun(tmp_path, "ewc", state=state)


def test_a_refresh_leaves_its_fisher_to_the_next(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    made = run(workspace, section(objective=BOTH), 2)
    assert made.state.path is not None
    left = load_file(workspace.at(made.state.path) / "objective-ewc.safetensors")
    alone, _, _ = begun(tmp_path / "again", "ewc")
    assert torch.allclose(left[NAME], alone.memory["ewc"][f"fisher/{NAME}"], rtol=1e-4, atol=1e-12)


def test_at_weight_0_it_changes_nothing_at_all(tmp_path: Path) -> None:
    assert changes_nothing(tmp_path, {"method": "ewc", "weight": 0.0})


def test_it_resumes_exactly_and_trains(tmp_path: Path) -> None:
    ends_like_one_never_stopped(tmp_path, section(objective=BOTH))


def test_it_resumes_exactly_after_another_version(tmp_path: Path) -> None:
    def before(workspace: Workspace) -> TrainingState:
        shape = load_model(tiny_model(workspace.root / "like")).state_dict()[NAME].shape
        return kept(workspace, {NAME: torch.ones(shape)})

    ends_like_one_never_stopped(tmp_path, section(objective=BOTH), state=before)


def test_it_is_refused_without_replay_and_with_an_adapter(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ewc needs replayed text"):
        begun(tmp_path, "ewc", sources=("new/alpha", "new/beta"))
    with pytest.raises(ValueError, match=r"ewc pulls parameters back .* train.params lora trains"):
        begun(tmp_path, "ewc", params="lora", state=STATE)
