"""Everything that training moves and a checkpoint holds: network, optimiser, and what the methods remember."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.core.artifacts import TrainingState
from steps.core.blocks import Blocks, MicroBatch
from steps.core.forward import AsGiven, Averaged, Seen, StepFacts, Teacher, has_plain_head, outputs_at, sum_of
from steps.core.models import load_model, refuse_quantised
from steps.core.training_state import read_kept
from steps.core.workspace import Workspace
from steps.learning.arithmetic import PLAIN, Arithmetic
from steps.learning.ranks import Ranks
from steps.methods.objective import Objective, Start
from steps.methods.optimizer import Optimizer
from steps.methods.params import Attached, Params

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


class Learner:
    """The network in training, on its device.

    Raises:
        ValueError: an objective asks a teacher that there is not.
    """

    def __init__(
        self,
        workspace: Workspace,
        accelerator: Any,
        params: Params,
        objectives: Sequence[Objective],
        optimizer: Optimizer,
        learning_rate: float,
        arithmetic: Arithmetic = PLAIN,
        *,
        start: Path,
        parent: Path,
        state: TrainingState,
    ) -> None:
        self.accelerator = accelerator
        self.ranks = Ranks(workspace.rank, workspace.num_ranks)
        self.params, self.objectives, self.averaging = params, objectives, optimizer
        self.start, self.parent = start, parent
        self._past = {one.method_name(): read_kept(workspace, state, "objective", one) for one in objectives}
        past = read_kept(workspace, state, "params", params)
        whole_on = accelerator.device if self.ranks.number == 1 else "cpu"  # a device may hold no more than its part
        refuse_quantised(start)
        beginning = partial(load_model, start, device=str(whole_on))
        self.attach: Callable[[], Attached] = lambda: params.attach(beginning(), workspace.seed, past)
        whole = self.attach()
        arithmetic.prepare(whole.network)
        self.attached = self.ranks.shard(whole, accelerator.device)
        self.optimizer = self.attached.optimizer = optimizer.make(self.trained, learning_rate)
        self.average = optimizer.begin(self.trained)
        self.memory: dict[str, dict[str, torch.Tensor]] = {name: {} for name in self._past}
        self._hidden = any(one.hidden for one in objectives)
        self._logits = any(one.logits for one in objectives) or not has_plain_head(self.network)
        self.teachers = self._teachers()

    @property
    def network(self) -> Any:
        """The network as it trains."""
        return self.attached.network

    @property
    def trained(self) -> "dict[str, torch.Tensor]":
        """What the optimiser moves, by name."""
        return self.attached.trained

    def begin(self, blocks: Blocks, micro_batch_blocks: int) -> dict[str, float]:
        """Let the objectives look at the parent and the training set, before the first step; what they tell of it.

        Raises:
            ValueError: an objective makes no sense with these parameters or this training set.
        """
        told: dict[str, float] = {}
        for one in self.objectives:
            if one.needs_replay and not blocks.replays:
                raise ValueError(
                    f"train.objective: {one.method_name()} needs replayed text, the training set has none "
                    f"({', '.join(blocks.sources)}); give replay a share in plan, or leave the method out"
                )
            start = Start(
                network=self.network,
                parent=partial(self._loaded, self.parent),
                teachers=self.teachers,
                trained=self.trained,
                blocks=blocks,
                past=self._past[one.method_name()],
                device=self.accelerator.device,
                micro_batch_blocks=micro_batch_blocks,
                params=self.params.method_name(),
            )
            memory = one.begin(start)
            told |= {f"train/{one.method_name()}_{name}": value for name, value in one.told(memory).items()}
            self.memory[one.method_name()] = self.ranks.cut(memory, self.trained)
        for name in self.teachers.keys() - {name for one in self.objectives for name in one.teachers}:
            self.teachers[name].forget()
        self.params.check(self.attached, self.memories())
        if blocks.steering is None:  # else what will be drawn is not known yet
            replayed = [blocks.num_replayed(step) for step in range(1, blocks.training_set.num_steps + 1)]
            if doubt := self.averaging.doubts(replayed):
                logger.warning("train.optimizer: %s", doubt)
        return told

    def see(self, batch: MicroBatch, facts: StepFacts) -> Seen:
        """Pass a micro-batch through the network."""
        placed = batch.to(self.accelerator.device)
        self.params.look(self.attached, placed)
        with self.accelerator.autocast():
            outputs = outputs_at(self.network, placed, hidden=self._hidden, logits=self._logits)
        return Seen(placed, outputs, facts, self.teachers)

    def terms(self, seen: Seen) -> "dict[str, torch.Tensor]":
        """Each objective's part of a micro-batch."""
        found = {one.method_name(): one.loss(seen, self.memory[one.method_name()]) for one in self.objectives}
        return {name: value for name, value in found.items() if value is not None}

    def keep_pace(self, batches: Iterable[MicroBatch], facts: StepFacts) -> None:
        """Take part in the passes of processes that have more blocks of the step; nothing is added."""
        for batch in batches:
            self.accelerator.backward(0.0 * self.see(batch, facts).nats_N.sum())

    def penalties(self) -> "dict[str, torch.Tensor]":
        """The terms of a step that hang on the parameters alone."""
        found = {
            one.method_name(): one.penalty(self.trained, self.memory[one.method_name()]) for one in self.objectives
        }
        found[self.params.method_name()] = self.params.penalty(self.attached)
        return {name: value for name, value in found.items() if value is not None}

    def backward(self, terms: "Mapping[str, torch.Tensor]", seen: Seen | None = None) -> None:
        """Add the gradient of some terms; where processes train together each has a pass for what it has seen."""
        total = sum_of(terms.values())
        if total is None and seen is not None and self.ranks.number > 1:
            total = 0.0 * seen.nats_N.sum()
        if total is not None and total.requires_grad:
            self.accelerator.backward(total)

    def gradient_norm(self, step: int, clip_norm: float | None) -> float:
        """The norm of the step's whole gradient, as the params method left it; then it is clipped."""
        self.params.gradients(self.attached, step)
        norm = self.accelerator.clip_grad_norm_(self.trained.values(), clip_norm or math.inf)
        return float(self.ranks.full(norm))

    def step(self, step: int, rate: float) -> None:
        """Take the optimiser's step at a rate, with all that the methods do after it."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.params.moved(self.attached, step)
        self.averaging.moved(self.trained, self.average, step)
        self.forget_gradients()

    def forget_gradients(self) -> None:
        """Let the next step begin from nothing."""
        self.optimizer.zero_grad(set_to_none=True)
        self.network.zero_grad(set_to_none=True)

    def memories(self) -> "dict[str, dict[str, torch.Tensor]]":
        """What the methods remember, by owner."""
        of_objectives = {f"objective/{name}": memory for name, memory in self.memory.items()}
        return {"params": self.attached.memory, "average": self.average, **of_objectives}

    def _teachers(self) -> dict[str, Teacher]:
        load: dict[str, Callable[[], Any]] = {"parent": partial(self._loaded, self.parent)}
        if self.start == self.parent and (off := self.attached.switched_off):
            load["parent"] = lambda: AsGiven(self.network, off)
        slow = self.averaging.slow(self.average)
        if slow is not None:
            load["slow"] = lambda: Averaged(self.network, lambda: self.averaging.slow(self.average) or {})
        for one in self.objectives:
            if strangers := [name for name in one.teachers if name not in load]:
                raise ValueError(
                    f"train.objective: {one.method_name()} asks the teacher {strangers[0]!r}, there is {sorted(load)}; "
                    "`slow` needs optimizer: {method: ema}"
                )
        read = {"hidden": self._hidden, "logits": any(one.logits for one in self.objectives)}
        return {name: Teacher(loader, self.accelerator.autocast, **read) for name, loader in load.items()}

    def _loaded(self, folder: Path) -> Any:
        return load_model(folder).to(self.accelerator.device).requires_grad_(False)
