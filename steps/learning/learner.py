"""Everything that training moves and a checkpoint holds: network, optimiser, and what the methods remember."""

import logging
import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.core.artifacts import Model, TrainingState
from steps.core.blocks import Blocks, MicroBatch
from steps.core.forward import AsGiven, Averaged, Seen, StepFacts, Teacher, has_plain_head, outputs_at, sum_of
from steps.core.models import describe_model, load_model, save_model
from steps.core.training_state import PLATEAU, describe_state, file_of, read_kept, write_kept
from steps.core.workspace import Workspace
from steps.learning.ranks import Ranks
from steps.methods.objective import Objective, Start
from steps.methods.optimizer import Optimizer
from steps.methods.params import Attached, Params

if TYPE_CHECKING:
    import torch

    Tensors = tuple[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]]  # of what is trained, of its memory

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
        *,
        start: Path,
        parent: Path,
        state: TrainingState,
    ) -> None:
        self.accelerator = accelerator
        self.ranks = Ranks(workspace.rank, workspace.num_ranks)
        self.params, self.objectives, self.averaging = params, objectives, optimizer
        self._start, self._parent = start, parent
        self._past = {one.method_name(): read_kept(workspace, state, "objective", one) for one in objectives}
        past = read_kept(workspace, state, "params", params)
        whole_on = accelerator.device if self.ranks.number == 1 else "cpu"  # a device may hold no more than its part
        beginning = partial(load_model, start, device=str(whole_on))
        self._attach: Callable[[], Attached] = lambda: params.attach(beginning(), workspace.seed, past)
        self.attached = self.ranks.shard(self._attach(), accelerator.device)
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
                parent=partial(self._loaded, self._parent),
                teachers=self.teachers,
                trained=self.trained,
                blocks=blocks,
                past=self._past[one.method_name()],
                device=self.accelerator.device,
                micro_batch_blocks=micro_batch_blocks,
                params=self.params.method_name(),
            )
            self.memory[one.method_name()] = memory = one.begin(start)
            told |= {f"train/{one.method_name()}_{name}": value for name, value in one.told(memory).items()}
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

    def backward(self, terms: "Mapping[str, torch.Tensor]") -> None:
        """Add the gradient of some terms."""
        total = sum_of(terms.values())
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

    def copy_of_trained(self) -> "dict[str, torch.Tensor]":
        """What is trained, as it is now."""
        return {name: tensor.detach().clone() for name, tensor in self.trained.items()}

    def way_from(self, before: "Mapping[str, torch.Tensor]") -> float:
        """How far what is trained has moved from a copy of it, which is used up."""
        from torch.nn.utils import get_total_norm

        ways = [before[name].sub_(tensor.detach()) for name, tensor in self.trained.items()]
        return float(self.ranks.full(get_total_norm(ways)))

    def forget_gradients(self) -> None:
        """Let the next step begin from nothing."""
        self.optimizer.zero_grad(set_to_none=True)
        self.network.zero_grad(set_to_none=True)

    def release(self) -> None:
        """Put what is released in place of what was trained; twice is as good as once."""
        import torch

        released = self.averaging.released(self.trained, self.average)
        with torch.no_grad():
            for name, tensor in self.trained.items():
                if released[name] is not tensor:
                    tensor.copy_(released[name])

    def finish(
        self, workspace: Workspace, before: TrainingState, plateau: "Tensors | None" = None
    ) -> tuple[Model, TrainingState]:
        """The released model and what the next refresh's training needs, on disk; the network is used up.

        `plateau`: what was trained and remembered when the model was that which is kept beside the released one.
        """
        model, adapter, state = (workspace.path / name for name in ("model", "adapter", "state"))
        self.release()
        attached = self._put_together()
        memories = {name: self.ranks.whole(memory) for name, memory in self.memory.items()}
        if self.ranks.first:
            shutil.rmtree(adapter, ignore_errors=True)
            shutil.rmtree(state, ignore_errors=True)
            kept = {file_of("params", self.params): self.params.keep(attached)}
            for one in self.objectives:
                kept[file_of("objective", one)] = one.keep(memories[one.method_name()])
            write_kept(state, kept)
            save_model(self.params.finish(attached, adapter), model, self._parent)
            if plateau:
                self.optimizer.state.clear()  # its room is needed
                with tempfile.TemporaryDirectory(dir=workspace.path) as aside:
                    again = self.params.finish(self._anew(*plateau), Path(aside) / "adapter")
                    save_model(again, state / PLATEAU, self._parent)
        self.ranks.wait()
        made = describe_model(workspace, model, adapter if adapter.exists() else None)
        return made, describe_state(workspace, state, before)

    def memories(self) -> "dict[str, dict[str, torch.Tensor]]":
        """What the methods remember, by owner."""
        of_objectives = {f"objective/{name}": memory for name, memory in self.memory.items()}
        return {"params": self.attached.memory, "average": self.average, **of_objectives}

    def _put_together(self) -> Attached:
        """What was attached, whole in the first process: made again, with all that training moved."""
        if self.ranks.number == 1:
            return self.attached
        trained, memory = self.ranks.whole(self.trained), self.ranks.whole(self.attached.memory)
        if not self.ranks.first:
            return self.attached
        return self._anew(trained, memory)

    def _anew(self, trained: "Mapping[str, torch.Tensor]", memory: "Mapping[str, torch.Tensor]") -> Attached:
        """What was attached before the first step, made again, with what training moved put in."""
        import torch

        again = self._attach()
        with torch.no_grad():
            for name, tensor in trained.items():
                again.trained[name].copy_(tensor)
            for key, tensor in memory.items():  # in place where there is one: the network may compute with it
                again.memory[key] = again.memory[key].copy_(tensor) if key in again.memory else tensor
        return again

    def _teachers(self) -> dict[str, Teacher]:
        load: dict[str, Callable[[], Any]] = {"parent": partial(self._loaded, self._parent)}
        if self._start == self._parent and (off := self.attached.switched_off):
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
