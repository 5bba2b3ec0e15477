"""The stability gap (arXiv:2406.14833): a task that gets worse first and, perhaps, better again while training goes on.

The measures are ours. With L_t the validation loss of a task after step t and L_0 that before the first: depth = the
largest rise max_t (L_t - L_0)+; its step is where L_t is largest; recovery = the steps from there to the first look at
which L_t <= L_0; area = sum of (L_t - L_0)+ times the steps since the look before. Only looks count, so a gap between
two of them is not seen: two looks, at both ends, measure none.
"""

import itertools
from collections.abc import Iterable, Mapping

from steps.core.artifacts import Gap
from steps.core.blocks import VALIDATION

FEWEST_LOOKS = 3


def gaps(rows: Iterable[Mapping[str, float]]) -> dict[str, Gap]:
    """The gap of every task that was looked at often enough, from the rows of a training history in their order."""
    looks: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for name, loss in row.items():
            if name.startswith(VALIDATION):
                looks.setdefault(name.removeprefix(VALIDATION), []).append((int(row["step"]), loss))
    return {task: gap_of(found) for task, found in sorted(looks.items()) if len(found) >= FEWEST_LOOKS}


def gap_of(looks: list[tuple[int, float]]) -> Gap:
    """The gap of one task, from its looks (step, loss in nats/token), the first before training."""
    _, began = looks[0]
    worst_step, worst = max(looks, key=lambda look: (look[1], -look[0]))
    rises = [(now - before, max(0.0, loss - began)) for (before, _), (now, loss) in itertools.pairwise(looks)]
    back = [step - worst_step for step, loss in looks if step > worst_step and loss <= began]
    return Gap(
        depth_nats=worst - began,
        worst_step=worst_step,
        recovery_steps=min(back, default=None) if worst > began else 0,
        area_nats=sum(steps * rise for steps, rise in rises),
    )
