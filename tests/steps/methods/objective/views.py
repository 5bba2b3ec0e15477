"""What an objective sees, made by hand, and a learner that has begun with it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from steps.core.artifacts import TrainingState
from steps.core.blocks import Blocks, MicroBatch
from steps.core.forward import Outputs, Rows, Seen, StepFacts
from steps.core.shards import write_json
from steps.core.training import accelerator_on
from steps.learning.learner import Learner
from steps.methods.objective import Objective
from tests.tiny_models import STATE, parent_model, tiny_workspace, training_set
from tests.training import run, section, weights


def outputs(logits: Sequence[Sequence[float]] | torch.Tensor, hidden: Sequence[Sequence[float]] | None) -> Outputs:
    """Logits and states of N tokens."""
    given = None if hidden is None else torch.tensor(hidden, dtype=torch.float32)
    return Outputs(torch.as_tensor(logits, dtype=torch.float32), given)


def seen(
    sources: Sequence[str],
    labels: Sequence[Sequence[int]],
    said: Outputs,
    *,
    old: Outputs | None = None,
    teacher: tuple[str, Rows] = ("parent", "replayed"),
    num_losses: int = 0,
    num_replayed: int = 0,
    changed: Sequence[Sequence[bool]] | None = None,
) -> Seen:
    """Rows of one length; each token but its row's first (which is 0) carries loss. Counts of 0: those of these."""
    ids_BT = torch.tensor([[0, *row] for row in labels])
    mask_BT = torch.ones_like(ids_BT, dtype=torch.bool)
    marks_BT = None if changed is None else torch.tensor([[False, *row] for row in changed])
    batch = MicroBatch(ids_BT, mask_BT, None, marks_BT, None, list(sources))
    of_replay = sum(len(row) for source, row in zip(sources, labels, strict=True) if source.startswith("replay/"))
    facts = StepFacts(1, 1, num_losses or sum(map(len, labels)), num_replayed or of_replay)
    return Seen(batch, said, facts, _answers={} if old is None else {teacher: old})


def value(objective: Objective, view: Seen, memory: dict[str, torch.Tensor] | None = None) -> float:
    """A term's part of a micro-batch, as a number."""
    found = objective.loss(view, memory or {})
    assert found is not None, "nothing here concerns it"
    return float(found.detach())


def begun(
    root: Path,
    objective: Any,
    *,
    params: Any = "full",
    state: TrainingState = STATE,
    start: Path | None = None,
    size: int = 1,
    sources: Sequence[str] = ("new/alpha", "replay/general"),
    num_steps: int = 2,
) -> tuple[Learner, Blocks, dict[str, float]]:
    """A learner whose objectives have looked at the parent and the training set, and what they told."""
    workspace = tiny_workspace(root)
    made = training_set(workspace, num_steps)
    write_json(workspace.at(made.path) / "plan.json", {"sources": list(sources)})
    config = section(objective=objective, params=params if isinstance(params, dict) else {"method": params})
    parent = workspace.at(parent_model(workspace).path)
    methods = (config.params, config.objective, config.optimizer, config.learning_rate)
    accelerator = accelerator_on("cpu", "float32")
    learner = Learner(workspace, accelerator, *methods, start=start or parent, parent=parent, state=state)
    blocks = Blocks(workspace.at(made.path), made)
    return learner, blocks, learner.begin(blocks, size)


def changes_nothing(root: Path, objective: Any) -> bool:
    """Whether a run with an objective beside next-token ends with the weights of next-token alone, to the bit."""
    ends = []
    for name, objectives in (("alone", ["next-token"]), ("both", ["next-token", objective])):
        workspace = tiny_workspace(root / name)
        ends.append(weights(workspace, run(workspace, section(objective=objectives))))
    return ends[0].keys() == ends[1].keys() and all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
