"""One optimiser step."""

import math
from typing import TYPE_CHECKING

from steps.core.blocks import Blocks
from steps.core.forward import StepFacts
from steps.learning.divergence import Guard
from steps.learning.learner import Learner

if TYPE_CHECKING:
    import torch


def update(
    learner: Learner,
    blocks: Blocks,
    guard: Guard,
    step: int,
    rate: float,
    *,
    micro_batch_blocks: int,
    clip_norm: float | None,
    measured: bool,
) -> dict[str, float]:
    """What the objectives say of a step's blocks, the gradient, the step, unless the guard says no; and its numbers.

    `measured`: whether the way that the parameters take is told, too: that needs a copy of them.

    Raises:
        ValueError: the step is not to be taken, and the recipe's rule says that this ends training.
    """
    num_losses = blocks.num_losses(step)
    facts = StepFacts(step, blocks.training_set.num_steps, num_losses, blocks.num_replayed(step))
    summed: dict[str, float] = {}
    counted: dict[str, float] = {}
    values: dict[str, float] = {}
    ranks = learner.ranks
    share = (step, micro_batch_blocks, ranks.rank, ranks.number)
    for batch in blocks.micro_batches(*share):
        seen = learner.see(batch, facts)
        terms = learner.terms(seen)
        learner.backward(terms, seen)
        for name, value in terms.items():
            values[name] = values.get(name, 0.0) + float(value.detach())
        for source, nats, count in seen.by_source():
            summed[source] = summed.get(source, 0.0) + nats
            counted[source] = counted.get(source, 0) + count
    learner.keep_pace(blocks.idle_batches(*share), facts)
    summed, counted, values = ranks.totals(summed, counted, values)
    penalties = learner.penalties()
    learner.backward(penalties)
    values |= {name: float(ranks.full(value.detach())) for name, value in penalties.items()}
    norm = learner.gradient_norm(step, clip_norm)
    nats = sum(summed.values()) / num_losses
    verdict = guard.judge(step, rate, sum(values.values()), nats, norm)
    if "train/skipped" in verdict:
        learner.forget_gradients()
        known = {"train/loss_nats_per_token": nats} if math.isfinite(nats) else {}
        return {**known, "train/learning_rate": rate, **verdict}
    before = {name: tensor.detach().clone() for name, tensor in learner.trained.items()} if measured else {}
    learner.step(step, rate)
    way = {"train/update_norm": _way(learner, before)} if measured else {}
    by_source = {f"train/loss_{name}": summed[name] / counted[name] for name in sorted(summed) if counted[name]}
    told = {} if list(values) == ["next-token"] else {f"train/objective_{name}": it for name, it in values.items()}
    return {
        "train/loss_nats_per_token": nats,
        **by_source,
        **told,
        "train/learning_rate": rate,
        "train/gradient_norm": norm,
        **way,
        **verdict,
    }


def _way(learner: Learner, before: "dict[str, torch.Tensor]") -> float:
    """How far what is trained has moved from a copy of it, which is used up."""
    from torch.nn.utils import get_total_norm

    ways = [before[name].sub_(tensor.detach()) for name, tensor in learner.trained.items()]
    return float(learner.ranks.full(get_total_norm(ways)))
