"""Train: continual pre-training of the parent on the training set, block by block, in its order."""

import logging
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BeforeValidator, Field, SerializeAsAny

from steps.core.artifacts import Frozen, Model, Trained, TrainingSet, TrainingState, Validation
from steps.core.checkpoints import Checkpoints, History, restore_training, training_tensors
from steps.core.method import from_recipe
from steps.core.models import describe_model, load_model, save_model, token_losses
from steps.core.shards import digest_of, write_lines
from steps.core.training import Blocks, HeldOut, accelerator_on, advice_on_memory, reproducible, told_to_stop
from steps.core.workspace import Workspace
from steps.methods.params import Params
from steps.methods.schedule import Schedule

logger = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "bfloat16"]
MEMORY_ADVICE = "lower train.micro_batch_blocks or mix.block_tokens, or train with {method: lora}"


class TrainConfig(Frozen):
    """The recipe's section `train`."""

    params: Annotated[SerializeAsAny[Params], BeforeValidator(from_recipe("params"))] = Field(
        description="which parameters training moves"
    )
    schedule: Annotated[SerializeAsAny[Schedule], BeforeValidator(from_recipe("schedule"))] = Field(
        description="how the learning rate moves from step to step"
    )
    learning_rate: float = Field(5e-4, gt=0, description="peak, per optimiser step")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's, per step and rate; pulls towards 0, not the parent")
    betas: tuple[float, float] = Field((0.9, 0.95), description="AdamW's, for the mean and the square of the gradient")
    clip_norm: float | None = Field(1.0, gt=0, description="largest norm of a step's gradient; none: not clipped")
    micro_batch_blocks: int = Field(1, gt=0, description="blocks computed at once; more is faster and needs memory")
    precision: Precision = Field("auto", description="of the arithmetic; auto: bfloat16 where the device is good at it")
    checkpoint_steps: int = Field(10, gt=0, description="steps from one checkpoint to the next")
    validate_steps: int = Field(0, ge=0, description="steps from one validation to the next; 0: at both ends only")
    validation_items: int = Field(16, ge=0, description="items per task at each validation, the first of them")
    validation_tokens: int = Field(64, gt=1, description="tokens read of each item")


def resolve_precision(precision: Precision, device: str) -> Literal["float32", "bfloat16"]:
    """What `auto` means on a device: bfloat16 on a GPU that computes it in hardware, float32 elsewhere."""
    if precision != "auto":
        return precision
    if device == "cuda":
        import torch

        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "float32"


def train(
    workspace: Workspace,
    config: TrainConfig,
    model: Model,
    state: TrainingState,
    training_set: TrainingSet,
    validation: Validation,
) -> Trained:
    """Train the parent on the blocks of the training set, in their order; a steered one decides it on the way.

    Raises:
        ValueError: the training set does not fit the model, or the loss is no longer a number.
        MemoryError: the device has too little memory.
        KeyboardInterrupt: SIGTERM came; the state is saved and the next run goes on from it.
    """
    import torch

    parent = workspace.at(model.path)
    precision = resolve_precision(config.precision, workspace.device)
    mixture = from_recipe("mixture")(training_set.steered) if training_set.steered else None
    blocks = Blocks(workspace.at(training_set.path), training_set, mixture)
    facts = [config.model_dump(mode="json"), precision, workspace.seed, workspace.code]
    inputs = [model.digest, state.digest, training_set.digest, validation.digest]
    checkpoints = Checkpoints(workspace.path / "checkpoints", digest_of([facts, inputs]))
    history = History(checkpoints.folder / "history.jsonl")
    for step, row in history.rows.items():
        workspace.report(step, {name: value for name, value in row.items() if name != "step"})

    with reproducible(workspace.seed), advice_on_memory(MEMORY_ADVICE), told_to_stop() as stop:
        accelerator = accelerator_on(workspace.device, precision)
        network = config.params.attach(load_model(parent), workspace.seed)  # in eval mode for good: no dropout
        blocks.check(network)
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, config.learning_rate, config.betas, weight_decay=config.weight_decay)
        network = accelerator.prepare_model(network)
        done = 0
        if found := checkpoints.latest():
            done = found.step
            restore_training(network, optimizer, found.tensors)
            blocks.restore(found.decisions)
            logger.info("goes on after step %d of %d", done, training_set.num_steps)
        held_out = HeldOut(
            workspace.at(validation.path), validation, parent, config.validation_items, config.validation_tokens
        )
        if not done:
            losses = held_out.losses(network)
            _tell(workspace, history, 0, losses | blocks.look(0, losses))
        for step in range(done + 1, training_set.num_steps + 1):
            started = time.monotonic()
            rate = config.schedule.rate(step, training_set.num_steps, config.learning_rate)
            metrics = _update(accelerator, network, optimizer, config, blocks, step, rate)
            seconds = time.monotonic() - started
            last = step == training_set.num_steps
            if last or blocks.decides(step) or (config.validate_steps and step % config.validate_steps == 0):
                losses = held_out.losses(network)
                metrics |= losses | blocks.look(step, losses)
            _tell(workspace, history, step, metrics, blocks.num_losses(step) / seconds)
            workspace.progress(step, training_set.num_steps, "steps")
            if stop.is_set() or (not last and step % config.checkpoint_steps == 0):
                checkpoints.save(step, training_tensors(network, optimizer), blocks.decisions())
            if stop.is_set():
                raise KeyboardInterrupt(f"stopped after step {step} of {training_set.num_steps}; run again to go on")
        made = _finish(workspace, config, accelerator.unwrap_model(network), parent)
    write_lines(workspace.path / "history.jsonl", history.rows.values())
    checkpoints.clear()
    return Trained(
        digest=digest_of([made.digest, state.digest]),
        model=made,
        state=state,
        num_steps=training_set.num_steps,
        achieved=blocks.achieved(),
        history=workspace.relative(workspace.path / "history.jsonl"),
    )


def _update(
    accelerator: Any, network: Any, optimizer: Any, config: TrainConfig, blocks: Blocks, step: int, rate: float
) -> dict[str, float]:
    """One optimiser step: the mean loss over all loss tokens of its blocks."""
    num_losses = blocks.num_losses(step)
    summed: dict[str, float] = {}
    counted: dict[str, int] = {}
    for batch in blocks.micro_batches(step, config.micro_batch_blocks):
        loss_B = token_losses(network, *batch.tensors(accelerator.device)).sum(dim=1)
        loss = loss_B.sum() / num_losses
        if not math.isfinite(loss.item()):
            _diverged(f"the loss is {loss.item()}", step, config, rate)
        accelerator.backward(loss)
        counts = batch.loss_mask.sum(dim=1).tolist()
        for source, nats, count in zip(batch.sources, loss_B.tolist(), counts, strict=True):
            summed[source] = summed.get(source, 0.0) + nats
            counted[source] = counted.get(source, 0) + count
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    norm = float(accelerator.clip_grad_norm_(trained, config.clip_norm or math.inf))
    if not math.isfinite(norm):
        _diverged(f"the norm of the gradient is {norm}", step, config, rate)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    by_source = {f"train/loss_{name}": summed[name] / counted[name] for name in sorted(summed) if counted[name]}
    loss_nats = sum(summed.values()) / num_losses
    return {
        "train/loss_nats_per_token": loss_nats,
        **by_source,
        "train/learning_rate": rate,
        "train/gradient_norm": norm,
    }


def _diverged(what: str, step: int, config: TrainConfig, rate: float) -> NoReturn:
    raise ValueError(
        f"train: at step {step} {what} (learning rate {rate:.3g}); lower train.learning_rate "
        f"({config.learning_rate:g}) or train.clip_norm ({config.clip_norm}), or use precision float32"
    )


def _tell(workspace: Workspace, history: History, step: int, metrics: Mapping[str, float], pace: float = 0.0) -> None:
    """Report a step, unless an earlier run told of it; the pace is the machine's and stays out of the history."""
    if history.add(step, metrics):
        workspace.report(step, {**metrics, "train/tokens_per_second": pace} if pace else metrics)


def _finish(workspace: Workspace, config: TrainConfig, network: Any, parent: Path) -> Model:
    adapter = workspace.path / "adapter"
    shutil.rmtree(adapter, ignore_errors=True)
    full = config.params.finish(network, adapter)
    save_model(full, workspace.path / "model", parent)
    return describe_model(workspace, workspace.path / "model", adapter if adapter.exists() else None)
