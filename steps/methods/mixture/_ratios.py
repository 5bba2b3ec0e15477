"""What the scaling laws of this slot share: pilots over ratios of new text, what they showed, and shares at a ratio."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator

from steps.core.curves import DOMAIN, GENERAL, Curve
from steps.methods.mixture import Decision, Mixture, Pilot, Shares, Supply, Trial

New = Literal["proportional", "equal"]
GROUP_OF = {"train": "domain", "replay-only": "general"}


def _several(ratios: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(ratios)) != len(ratios) or any(not 0 < ratio <= 1 for ratio in ratios):
        raise ValueError(f"wanted different ratios above 0, at most 1, found {list(ratios)}")
    return tuple(sorted(ratios))


class OverRatios(Mixture):
    """A law over ratios and tokens; its pilots are validated at equal distances."""

    min_points: ClassVar[int]
    skip_share: float

    @property
    def needs_validations(self) -> int:
        """As many looks as leave enough points beyond the part that is skipped."""
        return next(n for n in itertools.count(1) if n - math.floor(self.skip_share * n) >= self.min_points)


def enough(ratios: Sequence[float], held_out: Sequence[float], least: int) -> None:
    """Refuse ratios that cannot carry a law.

    Raises:
        ValueError: a held-out ratio is none of them, or too few are left to fit.
    """
    if set(held_out) - set(ratios) or len(ratios) - len(held_out) < least:
        raise ValueError(
            f"wanted held_out {list(held_out)} among ratios {list(ratios)} and at least {least} others to fit"
        )


Ratios = Annotated[tuple[float, ...], AfterValidator(_several)]


def shares_at(ratio: float, supply: Supply, new: New) -> Shares:
    """So much new text, the rest replayed; replayed tasks by the tokens that they hold."""
    weights = {task: float(tokens) if new == "proportional" else 1.0 for task, tokens in supply.new.items()}
    return Shares(replay=min(1.0, max(0.0, 1 - ratio)), new_weights=weights, replay_weights=dict(supply.replay))


def trials(
    ratios: Sequence[float],
    held_out: Sequence[float],
    num_tokens: int | None,
    num_seeds: int,
    supply: Supply,
    new: New,
    seed: int,
) -> tuple[Trial, ...]:
    """A run for each ratio and seed.

    Raises:
        ValueError: there is nothing to replay.
    """
    if not supply.replay:
        raise ValueError(
            "plan.mixture: no text to replay, so no ratio to plan; land a replay-only task of general text"
        )
    return tuple(
        Trial(
            name=f"new-{ratio:g}-seed-{seed + number}",
            shares=shares_at(ratio, supply, new),
            num_tokens=num_tokens or max(1, supply.budget_tokens // 4),
            held_out=ratio in held_out,
            seed=seed + number,
        )
        for ratio in sorted({*ratios, *held_out})
        for number in range(num_seeds)
    )


def observed(
    pilots: Sequence[Pilot], roles: Mapping[str, str], skip_share: float, min_ratios: int, min_points: int
) -> tuple[list[Curve], list[Curve], dict[str, str]]:
    """Fitted and held-out curves by ascending ratio, and `domain` or `general` by task and group.

    Raises:
        ValueError: too few ratios, too few validations, or no task of one of the two roles was validated.
    """
    tasks = sorted(set.intersection(*(set(pilot.losses) for pilot in pilots)) & set(roles)) if pilots else []
    groups = {task: GROUP_OF[roles[task]] for task in tasks if roles[task] in GROUP_OF}
    missing = {"domain", "general"} - set(groups.values())
    if pilots and missing:
        raise ValueError(
            f"pilot: no validation loss of a {' or '.join(sorted(missing))} task (found {tasks}); a law over ratios "
            "needs both a train task and a replay-only task with validation items: land them, or use `fixed`"
        )
    alike: dict[tuple[bool, float, int], list[Pilot]] = {}
    for pilot in pilots:
        key = (pilot.trial.held_out, round(1 - pilot.trial.shares.replay, 9), pilot.num_parameters)
        alike.setdefault(key, []).append(pilot)
    if len(kept := sorted({ratio for held_out, ratio, _ in alike if not held_out})) < min_ratios:
        raise ValueError(
            f"pilot: a law over ratios wants at least {min_ratios} fitted ratios, found {len(kept)} "
            f"({kept}); add ratios to plan.mixture.ratios, or use `fixed`"
        )
    curves = {key: _curve(key[1], found, groups, skip_share, min_points) for key, found in sorted(alike.items())}
    fitted, unseen = ([curve for key, curve in curves.items() if key[0] is held_out] for held_out in (False, True))
    return fitted, unseen, {DOMAIN: "domain", GENERAL: "general"} | groups


def _curve(
    ratio: float, pilots: Sequence[Pilot], groups: Mapping[str, str], skip_share: float, min_points: int
) -> Curve:
    num_points = min(len(pilot.tokens) for pilot in pilots)
    tokens_T = np.mean([pilot.tokens[:num_points] for pilot in pilots], axis=0)
    assert tokens_T[0] == 0, f"{pilots[0].trial.name}: the first validation comes before training"
    kept_T = np.flatnonzero(tokens_T > skip_share * tokens_T[-1])
    if len(kept_T) < min_points:
        raise ValueError(
            f"pilot {pilots[0].trial.name}: a law over tokens wants at least {min_points} validations after the "
            f"start, found {len(kept_T)}; raise pilot.validations or plan.mixture.pilot_tokens, or lower skip_share"
        )
    losses = {task: np.array([pilot.losses[task][:num_points] for pilot in pilots]) for task in groups}
    for name, group in ((DOMAIN, "domain"), (GENERAL, "general")):
        losses[name] = np.mean([losses[task] for task, role in groups.items() if role == group], axis=0)
    return Curve(
        ratio=ratio,
        tokens=tokens_T[kept_T],
        losses={name: found[:, kept_T] for name, found in losses.items()},
        starts={name: float(found[:, 0].mean()) for name, found in losses.items()},
        num_parameters=pilots[0].num_parameters,
    )


def decided(ratio: float, predicted: Mapping[str, float], told: Sequence[str], supply: Supply, new: New) -> Decision:
    """The decision for one ratio; new text that no pilot saw is named."""
    unseen = sorted(set(supply.new) - set(predicted))
    if unseen:
        told = (
            *told,
            f"No pilot saw new text of {', '.join(unseen)}: it is mixed all the same, its loss not predicted.",
        )
    return Decision(stages=(shares_at(ratio, supply, new),), predicted=dict(predicted), told=tuple(told))
