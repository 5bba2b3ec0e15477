"""Train: continual pre-training of the parent on the training set, block by block, in its order."""

import logging
import math
import time
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny

from steps.core.artifacts import Model, Trained, TrainingSet, TrainingState, Validation
from steps.core.blocks import Blocks
from steps.core.checkpoints import Checkpoint, Checkpoints, History
from steps.core.memory import used_mb
from steps.core.method import from_recipe, list_from_recipe
from steps.core.shards import digest_of
from steps.core.training import (
    HeldOut,
    Precision,
    accelerator_on,
    advice_on_memory,
    reproducible,
    resolve_precision,
    told_to_stop,
)
from steps.core.workspace import Workspace
from steps.learning.arithmetic import Arithmetic
from steps.learning.divergence import Divergence, Guard
from steps.learning.gap import gaps
from steps.learning.learner import Learner
from steps.learning.looking import Looking
from steps.learning.passed import Keeping, Passed
from steps.learning.plateau import Plateau
from steps.learning.ranks import together
from steps.learning.released import release
from steps.learning.saved import restore, tensors_of
from steps.learning.update import update
from steps.methods.objective import Objective, that_add_up
from steps.methods.optimizer import Optimizer
from steps.methods.params import Params
from steps.methods.schedule import Schedule

logger = logging.getLogger(__name__)

MEMORY_ADVICE = (
    "lower train.micro_batch_blocks or mix.block_tokens, set train.gradient_checkpointing to true, "
    "train params: {method: lora}, or take optimizer: {method: eight-bit}"
)


class TrainConfig(Arithmetic, Looking, Keeping):
    """The recipe's section `train`."""

    params: Annotated[SerializeAsAny[Params], BeforeValidator(from_recipe("params"))] = Field(
        description="which parameters training moves"
    )
    objective: Annotated[
        tuple[SerializeAsAny[Objective], ...],
        BeforeValidator(list_from_recipe("objective")),
        AfterValidator(that_add_up),
    ] = Field(
        default_factory=lambda: list_from_recipe("objective")("next-token"),
        min_length=1,
        description="what training minimises: one, or a list that adds up",
    )
    optimizer: Annotated[SerializeAsAny[Optimizer], BeforeValidator(from_recipe("optimizer"))] = Field(
        default_factory=lambda: from_recipe("optimizer")("adamw"), description="how gradients become steps"
    )
    schedule: Annotated[SerializeAsAny[Schedule], BeforeValidator(from_recipe("schedule"))] = Field(
        description="how the learning rate moves from step to step"
    )
    learning_rate: float = Field(5e-4, gt=0, description="peak, per optimiser step")
    clip_norm: float | None = Field(1.0, gt=0, description="largest norm of a step's gradient; none: not clipped")
    micro_batch_blocks: int = Field(1, gt=0, description="blocks computed at once; more is faster and needs memory")
    divergence: Divergence = Field(Divergence(), description="what becomes of a step that goes wrong")
    precision: Precision = Field("auto", description="of the arithmetic; auto: bfloat16 where the device is good at it")

    def of_a_step(self, step: int) -> dict[str, Any]:
        """What `update` wants to know."""
        measured = bool(self.update_norm_steps) and step % self.update_norm_steps == 0
        return {"micro_batch_blocks": self.micro_batch_blocks, "clip_norm": self.clip_norm, "measured": measured}

    @property
    def advice(self) -> str:
        """What to do when the loss leaves the rails."""
        return (
            f"lower train.learning_rate ({self.learning_rate:g}) or train.clip_norm ({self.clip_norm}), "
            "or use precision float32"
        )


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
        ValueError: the training set or the methods do not fit the model, or the loss is no longer a number.
        MemoryError: the device has too little memory.
        KeyboardInterrupt: SIGTERM or Ctrl-C came; the state is saved and the next run goes on from it.
    """
    parent = workspace.at(model.path)
    precision = resolve_precision(config.precision, workspace.device)
    config.check(workspace.device, precision)
    mixture = from_recipe("mixture")(training_set.steered) if training_set.steered else None
    blocks = Blocks(workspace.at(training_set.path), training_set, mixture)
    facts = [config.model_dump(mode="json"), precision, workspace.seed, workspace.code]
    inputs = [model.digest, state.digest, training_set.digest, validation.digest]
    ranks = together(workspace, config.params, config.objective, config.optimizer)
    checkpoints = Checkpoints(workspace.path / "checkpoints", digest_of([facts, inputs]), writes=ranks.first)
    plateau = Plateau(workspace, config.schedule, training_set.num_steps, state, checkpoints)
    passed = Passed(config, training_set.num_steps, checkpoints, plateau)
    history = History(checkpoints.folder / "history.jsonl", writes=ranks.first)
    for step, row in history.rows.items():
        workspace.report(step, {name: value for name, value in row.items() if name != "step"})

    with reproducible(workspace.seed), advice_on_memory(MEMORY_ADVICE), told_to_stop() as stop:
        accelerator = accelerator_on(workspace.device, precision)
        methods = (config.params, config.objective, config.optimizer, config.learning_rate, config)
        learner = Learner(workspace, accelerator, *methods, start=plateau.start(parent), parent=parent, state=state)
        blocks.check(learner.network)
        held_out = HeldOut(
            workspace.at(validation.path),
            validation,
            parent,
            config.validation_items,
            config.validation_tokens,
            ranks.spread,
            config.labelled,
        )
        guard = Guard(config.divergence, config.advice)
        done = 0
        if found := ranks.latest(checkpoints):
            done = _resume(found, learner, guard, blocks, passed)
        else:
            told = learner.begin(blocks, config.micro_batch_blocks)
            losses = held_out.losses(learner.network)
            _tell(workspace, history, 0, losses | told | blocks.look(0, losses))
        for step in range(done + 1, training_set.num_steps + 1):
            started = time.monotonic()
            rate = config.schedule.rate(step, training_set.num_steps, config.learning_rate, continued=plateau.continued)
            with config.training(learner.network):
                metrics = update(learner, blocks, guard, step, rate, **config.of_a_step(step))
            seconds = time.monotonic() - started
            passed.keep(learner, step)
            last = step == training_set.num_steps
            if last:
                release(learner)
            if last or blocks.decides(step) or config.looks(step):
                losses = held_out.losses(learner.network)
                metrics |= losses | blocks.look(step, losses)
            _tell(workspace, history, step, metrics, blocks.num_losses(step) / seconds)
            workspace.progress(step, training_set.num_steps, "steps")
            stopping = ranks.any(stop.is_set())
            if stopping or (not last and step % config.checkpoint_steps == 0):
                checkpoints.save(step, tensors_of(learner) | guard.tensors(), blocks.decisions())
            if stopping:
                raise KeyboardInterrupt(f"stopped after step {step} of {training_set.num_steps}; run again to go on")
        made, kept, models = passed.finish(learner, workspace, state)
    history.publish(workspace.path / "history.jsonl")
    checkpoints.clear()
    return Trained(
        digest=digest_of([made.digest, kept.digest, *(each.digest for each in models)]),
        model=made,
        state=kept,
        num_steps=training_set.num_steps,
        achieved=blocks.achieved(),
        history=workspace.relative(workspace.path / "history.jsonl"),
        gap=ranks.agreed(gaps(history.rows.values())),
        checkpoints=models,
    )


def _resume(found: Checkpoint, learner: Learner, guard: Guard, blocks: Blocks, passed: Passed) -> int:
    """Make everything as it was after a checkpoint's step."""
    restore(learner, found.tensors)
    guard.restore(found.tensors)
    blocks.restore(found.decisions)
    passed.check(found.step)
    logger.info("goes on after step %d of %d", found.step, blocks.training_set.num_steps)
    return found.step


def _tell(workspace: Workspace, history: History, step: int, metrics: Mapping[str, float], pace: float = 0.0) -> None:
    """Report a step, unless an earlier run told of it; pace and memory are the machine's and not in the history."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise ValueError(f"train: at step {step} {name} is {value}; lower train.learning_rate or train.clip_norm")
    if history.add(step, metrics):
        machine = {"train/tokens_per_second": pace, "train/memory_mb": used_mb()} if pace else {}
        workspace.report(step, {**metrics, **machine})
