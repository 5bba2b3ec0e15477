import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from steps.core.artifacts import Model, TrainingSet
from steps.core.models import describe_model, load_model
from steps.core.workspace import Workspace
from steps.learning.divergence import Divergence, Guard
from steps.train import TrainConfig, train
from tests.tiny_models import STATE, rows_of, tiny_model, tiny_workspace, training_set, validation_items
from tests.training import Killed, dying, weights
from tests.training import section as plain_section

LOSS, NAN = "train/loss_nats_per_token", 3  # a token of the tiny model that no text holds


def section(**knobs: Any) -> TrainConfig:
    """Without the update norm: the way of a weight that is no number is none either."""
    return plain_section(update_norm_steps=0, **knobs)


def guard(**rule: Any) -> Guard:
    return Guard(Divergence(**rule), "lower it")


def judged(one: Guard, *losses: float) -> list[dict[str, float]]:
    return [one.judge(step, 0.1, loss, loss, 1.0) for step, loss in enumerate(losses, 1)]


def test_a_spike_is_far_above_the_median_of_the_steps_before_it() -> None:
    rule = {"spike": "skip", "window_steps": 3, "spike_factor": 2, "spike_nats": 0.5}
    # the median of 1, 5, 2 is 2: 4 is no spike, 4.1 is one and does not count among the last three, which stay 5, 2, 4
    assert judged(guard(**rule), 1, 5, 2, 4) == [{}, {}, {}, {}]
    assert judged(guard(**rule), 1, 5, 2, 4.1, 4.1, 2) == [{}, {}, {}, {"train/skipped": 1}, {"train/skipped": 2}, {}]


def test_a_small_loss_that_triples_is_no_spike() -> None:
    assert judged(guard(spike="stop", window_steps=2), 0.1, 0.1, 0.9) == [{}, {}, {}]
    with pytest.raises(ValueError, match=r"at step 3 the loss is 1\.2 nats per token, the median of 2 .* 0\.1 "):
        judged(guard(spike="stop", window_steps=2), 0.1, 0.1, 1.2)


def test_by_default_a_spike_is_told_and_taken(caplog: pytest.LogCaptureFixture) -> None:
    assert judged(guard(window_steps=2), 1, 1, 9, 1) == [{}, {}, {"train/spike": 9}, {}]
    assert "at step 3 the loss is 9 nats per token" in caplog.text


@pytest.mark.parametrize(("loss", "norm"), [(float("nan"), 1.0), (float("inf"), 1.0), (2.0, float("nan"))])
def test_what_is_no_number_stops_or_is_skipped(loss: float, norm: float) -> None:
    with pytest.raises(ValueError, match=r"at step 7 the (loss|norm of the gradient) is (nan|inf) .*; lower it"):
        guard().judge(7, 0.1, loss, 2.0, norm)
    assert guard(no_number="skip").judge(7, 0.1, loss, 2.0, norm) == {"train/skipped": 1}


def test_too_many_in_a_row_stop() -> None:
    nan = float("nan")
    assert len(judged(guard(no_number="skip", max_skips=2), nan, nan, 1, nan, nan)) == 5
    with pytest.raises(ValueError, match=r"at step 3 the loss is nan .*, after 2 steps that were skipped; lower it"):
        judged(guard(no_number="skip", max_skips=2), nan, nan, nan)


def test_it_goes_on_from_a_checkpoint_as_if_never_stopped() -> None:
    rule = {"spike": "skip", "window_steps": 2, "no_number": "skip", "max_skips": 2}
    one, other = guard(**rule), guard(**rule)
    judged(one, 1.0, 1 / 3, 1.0, float("nan"), float("nan"))
    other.restore(one.tensors())
    assert other.tensors()["divergence/losses"].tolist() == [1 / 3, 1.0]
    with pytest.raises(ValueError, match="after 2 steps that were skipped"):
        judged(other, float("nan"))


def poisoned(root: Path, at: dict[int, int | None], num_steps: int = 20) -> tuple[Workspace, Model, TrainingSet]:
    """A model whose token 3 is no number, and text that holds it, or another token for a whole block, at some steps."""
    workspace = tiny_workspace(root)
    network = load_model(tiny_model(root / "parent"))
    network.config.tie_word_embeddings = False
    network.lm_head.weight = torch.nn.Parameter(network.lm_head.weight.detach().clone())
    with torch.no_grad():
        network.get_input_embeddings().weight[NAN] = torch.nan
    network.save_pretrained(root / "parent")
    blocks = training_set(workspace, num_steps)
    path = root / "data/mix/streams/0.safetensors"
    tensors = load_file(path)
    for step, token in at.items():
        if token is None:
            tensors["input_ids"][step - 1, 5] = NAN
        else:
            tensors["input_ids"][step - 1] = token
    save_file(tensors, path)
    return workspace, describe_model(workspace, root / "parent"), blocks


def trained(
    root: Path, settings: TrainConfig, at: dict[int, int | None], dies: int = 0, num_steps: int = 20
) -> tuple[list[Any], Any]:
    workspace, parent, blocks = poisoned(root, at, num_steps)
    inputs = (parent, STATE, blocks, validation_items(workspace))
    if dies:
        with pytest.raises(Killed):
            train(dying(root, dies), settings, *inputs)
    made = train(workspace, settings, *inputs)
    return rows_of(workspace.at(made.history)), weights(workspace, made)


def test_a_poisoned_block_stops_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train: at step 4 the loss is nan .*; lower train\.learning_rate"):
        trained(tmp_path, section(), {4: None})


def test_poisoned_blocks_are_skipped_the_same_way_after_a_stop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = section(divergence={"no_number": "skip"}, checkpoint_steps=5)
    at: dict[int, int | None] = {4: None, 12: None, 13: None}
    rows, straight = trained(tmp_path / "straight", settings, at)
    assert [(row["step"], row["train/skipped"]) for row in rows if "train/skipped" in row] == [(4, 1), (12, 2), (13, 3)]
    assert all((LOSS in row) != ("train/skipped" in row) for row in rows[1:])
    assert "at step 12 the loss is nan (learning rate" in caplog.text
    again, stopped = trained(tmp_path / "stopped", settings, at, dies=12)
    assert rows == again
    assert all(torch.equal(stopped[name], straight[name]) or "embed" in name for name in straight)
    assert rows[20][LOSS] < rows[1][LOSS]


def test_a_skipped_step_moves_nothing(tmp_path: Path) -> None:
    """All steps but the first one are skipped: many or few, what is released is what the first one made."""
    settings = section(divergence={"no_number": "skip", "max_skips": 99}, schedule={"method": "constant"})
    _, many = trained(tmp_path / "many", settings, dict.fromkeys(range(2, 21)))
    _, few = trained(tmp_path / "few", settings, {2: None}, num_steps=2)
    assert all(torch.equal(many[name], few[name]) or "embed" in name for name in many)
    with pytest.raises(ValueError, match=r"at step 7 .* after 5 steps that were skipped"):
        trained(tmp_path / "stops", section(divergence={"no_number": "skip"}), dict.fromkeys(range(2, 21)))


def test_a_spike_is_skipped_or_told_after_a_stop_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rule = {"spike": "skip", "spike_factor": 1.1, "spike_nats": 0.3, "window_steps": 8}
    settings, at = section(divergence=rule, checkpoint_steps=5), {14: 200}
    caplog.set_level(logging.WARNING)
    rows, straight = trained(tmp_path / "straight", settings, at)
    assert [row["step"] for row in rows if "train/skipped" in row] == [14]
    assert rows[14][LOSS] > 1.1 * rows[13][LOSS]
    again, stopped = trained(tmp_path / "stopped", settings, at, dies=13)
    assert rows == again
    assert all(torch.equal(stopped[name], straight[name]) or "embed" in name for name in straight)
    told, _ = trained(tmp_path / "told", section(divergence={**rule, "spike": "tell"}), at)
    assert [row["step"] for row in told if "train/spike" in row] == [14]


def test_a_rate_that_is_far_too_large_ends_with_advice(tmp_path: Path) -> None:
    settings = section(learning_rate=1e6, schedule={"method": "constant"})
    with pytest.raises(
        ValueError, match=r"at step 2 the norm of the gradient is nan .*train\.learning_rate \(1e\+06\)"
    ):
        trained(tmp_path, settings, {})


def test_rules_that_make_no_sense_are_refused() -> None:
    for wrong in ({"spike_factor": 1}, {"window_steps": 0}, {"no_number": "tell"}, {"max_skips": 0}):
        with pytest.raises(ValidationError):
            section(divergence=wrong)
