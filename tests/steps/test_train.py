import os
import signal
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from steps.core.artifacts import Trained
from steps.core.models import load_model, token_losses
from steps.core.training import resolve_precision
from steps.core.workspace import Workspace
from steps.train import TrainConfig, train
from tests.tiny_models import (
    STATE,
    Told,
    parent_model,
    rows_of,
    tiny_workspace,
    training_set,
    validation_items,
)

METHODS: list[dict[str, Any]] = [{"method": "full"}, {"method": "lora", "rank": 4, "alpha": 8}]


def config(**knobs: Any) -> TrainConfig:
    given = {"params": {"method": "full"}, "schedule": {"method": "rewarmed-cosine"}, "learning_rate": 1e-2}
    return TrainConfig.model_validate(given | {"checkpoint_steps": 2} | knobs)


def run(workspace: Workspace, settings: TrainConfig, num_steps: int = 8) -> Trained:
    blocks = training_set(workspace, num_steps)
    return train(workspace, settings, parent_model(workspace), STATE, blocks, validation_items(workspace))


def weights(workspace: Workspace, trained: Trained) -> dict[str, torch.Tensor]:
    return load_file(workspace.at(trained.model.path) / "model.safetensors")


class Killed(Exception):
    """Stands for the death of the process after a step."""


def killed_at(step: int, told: Told) -> Any:
    def progress(done: int, total: int, what: str) -> None:
        if done == step:
            raise Killed

    return progress


def dying(root: Path, step: int, told: Told) -> Workspace:
    kept = tiny_workspace(root, told=told)
    return Workspace(root, kept.path, kept.seed, report=kept.report, progress=killed_at(step, told))


@pytest.mark.parametrize("params", METHODS)
def test_training_lowers_the_loss_on_text_that_repeats(tmp_path: Path, params: dict[str, Any]) -> None:
    workspace = tiny_workspace(tmp_path)
    trained = run(workspace, config(params=params), num_steps=12)
    rows = rows_of(workspace.at(trained.history))
    assert rows[-1]["train/loss_nats_per_token"] < rows[1]["train/loss_nats_per_token"] - 0.2
    assert rows[-1]["train/validation_alpha"] < rows[0]["train/validation_alpha"] - 0.2


def test_the_reported_loss_is_the_mean_over_the_tokens_of_the_step(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    trained = run(workspace, config(), num_steps=1)
    tokens = [load_file(tmp_path / f"data/mix/streams/{number}.safetensors")["input_ids"] for number in (0, 1)]
    loss_mask = torch.ones((2, 32), dtype=torch.bool)
    loss_mask[1, 16:] = False
    network = load_model(tmp_path / "parent")
    with torch.no_grad():
        loss_BP = token_losses(network, torch.cat(tokens).long(), loss_mask)
    row = rows_of(workspace.at(trained.history))[1]
    assert row["train/loss_nats_per_token"] == pytest.approx(float(loss_BP.sum()) / (31 + 15), rel=1e-6)
    assert row["train/loss_new/alpha"] == pytest.approx(float(loss_BP[0].sum()) / 31, rel=1e-6)
    assert row["train/loss_replay/general"] == pytest.approx(float(loss_BP[1].sum()) / 15, rel=1e-6)


def test_micro_batches_change_the_memory_and_not_the_numbers(tmp_path: Path) -> None:
    ones, twos = tiny_workspace(tmp_path / "1"), tiny_workspace(tmp_path / "2")
    one, two = run(ones, config(micro_batch_blocks=1), 2), run(twos, config(micro_batch_blocks=2), 2)
    first, second = rows_of(ones.at(one.history)), rows_of(twos.at(two.history))
    for left, right in zip(first, second, strict=True):
        assert left == pytest.approx(right, rel=1e-4)


@pytest.mark.parametrize("params", METHODS)
def test_a_run_killed_at_step_4_ends_like_one_never_killed(tmp_path: Path, params: dict[str, Any]) -> None:
    straight = tiny_workspace(tmp_path / "straight")
    whole = run(straight, config(params=params, checkpoint_steps=3))
    told = Told()
    with pytest.raises(Killed):
        run(dying(tmp_path / "killed", 4, told), config(params=params, checkpoint_steps=3))
    resumed_at = tiny_workspace(tmp_path / "killed", told=told)
    resumed = run(resumed_at, config(params=params, checkpoint_steps=3))
    expected, found = weights(straight, whole), weights(resumed_at, resumed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert rows_of(straight.at(whole.history)) == rows_of(resumed_at.at(resumed.history))
    assert resumed.digest == whole.digest
    numbers: dict[int, float] = {}
    for step, row in told.rows:
        if "train/loss_nats_per_token" in row:
            assert numbers.setdefault(step, row["train/loss_nats_per_token"]) == row["train/loss_nats_per_token"]
    assert sorted(numbers) == list(range(1, 9))


def test_after_a_stop_only_the_missing_steps_are_computed(tmp_path: Path) -> None:
    told = Told()
    with pytest.raises(Killed):
        run(dying(tmp_path, 5, told), config())
    computed = [step for step, row in told.rows if "train/tokens_per_second" in row]
    run(tiny_workspace(tmp_path, told=told), config())
    assert computed == [1, 2, 3, 4, 5]
    assert [step for step, row in told.rows if "train/tokens_per_second" in row] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_run_killed_while_it_writes_its_model_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: Any) -> None:
        raise Killed

    here, straight = tiny_workspace(tmp_path), tiny_workspace(tmp_path / "straight")
    monkeypatch.setattr("steps.core.models.copy_side_files", die)
    with pytest.raises(Killed):
        run(here, config())
    monkeypatch.undo()
    resumed, whole = run(here, config()), run(straight, config())
    assert resumed.digest == whole.digest
    assert rows_of(here.at(resumed.history)) == rows_of(straight.at(whole.history))


def signalled(root: Path, step: int, *numbers: signal.Signals) -> Workspace:
    """A workspace in which signals come as a step is told."""
    kept = tiny_workspace(root)

    def listen(told: int, metrics: Any) -> None:
        if told == step:
            for number in numbers:
                os.kill(os.getpid(), number)

    return Workspace(root, kept.path, kept.seed, report=listen)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_and_keeps_it(tmp_path: Path, number: signal.Signals) -> None:
    handler = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match="stopped after step 3 of 8; run again"):
        run(signalled(tmp_path, 3, number), config(checkpoint_steps=100))
    assert signal.getsignal(number) is handler
    kept = tiny_workspace(tmp_path)
    assert (kept.path / "checkpoints/step-3").is_dir()
    resumed = run(kept, config(checkpoint_steps=100))
    straight = tiny_workspace(tmp_path / "straight")
    assert resumed.digest == run(straight, config(checkpoint_steps=100)).digest


def test_a_second_ctrl_c_ends_at_once_and_the_next_run_ends_the_same(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match="in the middle of a step"):
        run(signalled(tmp_path, 5, signal.SIGINT, signal.SIGINT), config(checkpoint_steps=4))
    kept, straight = tiny_workspace(tmp_path), tiny_workspace(tmp_path / "straight")
    assert [path.name for path in kept.path.glob("checkpoints/step-*")] == ["step-4"]
    assert run(kept, config(checkpoint_steps=4)).digest == run(straight, config(checkpoint_steps=4)).digest


class Watched:
    """A run that looks at every checkpoint as it lies on disk: the hash of its weights, and of all that it holds."""

    def __init__(self, root: Path) -> None:
        self.weights: dict[int, str] = {}
        self.everything: dict[int, str] = {}
        kept = tiny_workspace(root)
        self.workspace = Workspace(root, kept.path, kept.seed, progress=self.look)

    def look(self, done: int, total: int, what: str) -> None:
        """A step is done: the checkpoint of the step before it is the last one on disk."""
        path = self.workspace.path / f"checkpoints/step-{done - 1}/state.safetensors"
        if path.exists():
            tensors = load_file(path)
            trained = [tensors[name].numpy().tobytes() for name in sorted(tensors) if name.startswith("parameter/")]
            self.weights[done - 1] = sha256(b"".join(trained)).hexdigest()
            self.everything[done - 1] = sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("params", METHODS)
def test_after_a_stop_at_10_steps_11_to_20_are_the_same_to_the_bit(tmp_path: Path, params: dict[str, Any]) -> None:
    """Losses and gradient norms of each step, hashes of the weights and of all other state after each step."""
    settings = config(params=params, checkpoint_steps=1)
    straight, resumed = Watched(tmp_path / "straight"), Watched(tmp_path / "stopped")
    whole = run(straight.workspace, settings, 20)
    with pytest.raises(KeyboardInterrupt, match="stopped after step 10 of 20"):
        run(signalled(tmp_path / "stopped", 10, signal.SIGTERM), settings, 20)
    again = run(resumed.workspace, settings, 20)
    steps = range(11, 20)
    assert len({straight.weights[step] for step in steps}) == 9, "the weights move at every step"
    assert [resumed.weights[step] for step in steps] == [straight.weights[step] for step in steps]
    assert [resumed.everything[step] for step in steps] == [straight.everything[step] for step in steps]
    assert min(resumed.weights) == 10, "no step before the stop is computed again"
    rows = [rows_of(each.workspace.at(made.history)) for each, made in ((straight, whole), (resumed, again))]
    for name in ("train/loss_nats_per_token", "train/gradient_norm"):
        assert [row[name] for row in rows[1][11:]] == [row[name] for row in rows[0][11:]]
    assert rows[0] == rows[1]
    assert again.model.digest == whole.model.digest, "the weights after step 20"


def test_a_checkpoint_of_other_work_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(dying(tmp_path, 5, Told()), config(learning_rate=5e-2))
    here, straight = tiny_workspace(tmp_path), tiny_workspace(tmp_path / "straight")
    assert run(here, config()).digest == run(straight, config()).digest


def test_the_same_work_makes_the_same_bytes_and_another_seed_other_ones(tmp_path: Path) -> None:
    params = {"params": METHODS[1]}
    first = run(tiny_workspace(tmp_path / "1"), config(**params), 3)
    again = run(tiny_workspace(tmp_path / "2"), config(**params), 3)
    other = run(tiny_workspace(tmp_path / "3", seed=21), config(**params), 3)
    assert first.digest == again.digest
    assert first.digest != other.digest


def test_nothing_of_the_run_is_left_but_the_model_its_adapter_and_the_history(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    trained = run(workspace, config(params=METHODS[1]), 3)
    assert sorted(path.name for path in workspace.path.iterdir()) == ["adapter", "history.jsonl", "model"]
    assert trained.model.adapter == "data/train/adapter"
    for path in [*(workspace.path / "model").iterdir(), *(workspace.path / "adapter").iterdir()]:
        assert path.stat().st_mode & 0o777 == 0o644
        assert str(tmp_path).encode() not in path.read_bytes()


def test_the_adapter_on_the_parent_computes_what_the_merged_model_does(tmp_path: Path) -> None:
    from peft import PeftModel

    workspace = tiny_workspace(tmp_path)
    trained = run(workspace, config(params=METHODS[1]), 3)
    input_ids = torch.arange(4, 36)[None]
    merged = load_model(workspace.at(trained.model.path))(input_ids=input_ids).logits
    adapted = PeftModel.from_pretrained(load_model(tmp_path / "parent"), workspace.path / "adapter")
    assert torch.allclose(adapted(input_ids=input_ids).logits, merged, atol=1e-5)
    assert not torch.allclose(load_model(tmp_path / "parent")(input_ids=input_ids).logits, merged, atol=1e-2)


def test_the_model_is_stored_as_its_parent_is(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    parent = parent_model(workspace)
    network = load_model(tmp_path / "parent").to(torch.bfloat16)
    network.save_pretrained(tmp_path / "parent")
    trained = train(workspace, config(), parent, STATE, training_set(workspace, 2), validation_items(workspace))
    assert {tensor.dtype for tensor in weights(workspace, trained).values()} == {torch.bfloat16}


def test_a_loss_that_is_no_number_stops_with_advice(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    parent = parent_model(workspace)
    path = tmp_path / "parent/model.safetensors"
    save_file(
        {name: torch.full_like(value, torch.nan) for name, value in load_file(path).items()}, path, {"format": "pt"}
    )
    with pytest.raises(ValueError, match=r"at step 1 the loss is nan .* lower train\.learning_rate"):
        train(workspace, config(), parent, STATE, training_set(workspace), validation_items(workspace))


def test_out_of_memory_comes_with_advice(tmp_path: Path) -> None:
    def full(done: int, total: int, what: str) -> None:
        torch.empty(2**60, dtype=torch.uint8)

    kept = tiny_workspace(tmp_path)
    with pytest.raises(MemoryError, match=r"lower train\.micro_batch_blocks"):
        run(Workspace(tmp_path, kept.path, kept.seed, progress=full), config())


def test_memory_that_is_too_small_for_what_is_trained_comes_with_advice(tmp_path: Path) -> None:
    params = {"method": "lora", "rank": 2**40, "alpha": 1}
    with pytest.raises(MemoryError, match=r"out of memory: .* set train\.gradient_checkpointing to true"):
        run(tiny_workspace(tmp_path), config(params=params))


def test_tokens_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    blocks = training_set(workspace)
    path = tmp_path / "data/mix/streams/1.safetensors"
    tensors = load_file(path)
    tensors["input_ids"][1, 3] = 49_000
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"wanted tokens below 260, .* found .* 49,000; mix with this model"):
        train(workspace, config(), parent_model(workspace), STATE, blocks, validation_items(workspace))


def test_a_step_without_a_token_to_learn_is_refused(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    blocks = training_set(workspace)
    path = tmp_path / "data/mix/order.npy"
    draws_D4 = np.load(path)
    draws_D4[4:6, 3] = 0
    np.save(path, draws_D4)
    with pytest.raises(ValueError, match="step 3 has no token that carries loss"):
        train(workspace, config(), parent_model(workspace), STATE, blocks, validation_items(workspace))


def test_blocks_that_are_not_what_the_artifact_says_are_refused(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    blocks = training_set(workspace).model_copy(update={"num_steps": 9})
    with pytest.raises(ValueError, match="wanted 18 draws of blocks, found 16; mix again"):
        train(workspace, config(), parent_model(workspace), STATE, blocks, validation_items(workspace))


def test_a_section_loads_dumps_and_loads_equal() -> None:
    section = config(params={"method": "lora", "rank": 2}, schedule={"method": "constant"})
    assert TrainConfig.model_validate(section.model_dump(mode="json")) == section
    assert section.model_dump()["params"]["method"] == "lora"


def test_an_unknown_method_is_answered_with_those_that_exist() -> None:
    with pytest.raises(ValidationError, match="no method 'magic'; there are: constant, infinite"):
        config(schedule={"method": "magic"})


def test_auto_precision_is_float32_on_a_cpu_and_a_stated_one_is_kept() -> None:
    assert resolve_precision("auto", "cpu") == "float32"
    assert resolve_precision("bfloat16", "cpu") == "bfloat16"
