"""A training run that looks again at its shares: rounds of optimiser steps, each drawn by shares of its own.

A round begins with a decision: the validation losses that were seen, and the shares of loss tokens from there on. The
loss tokens of a round are spread by its shares to the token, its blocks evenly over its steps; a step may hold a block
more than usual. What is drawn is decided by the decisions alone, so they are all that a checkpoint holds.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from steps.core.apportion import apportion
from steps.core.streams import cut, interleave

logger = logging.getLogger(__name__)


class Steers(Protocol):
    """The verb of a mixture that steers."""

    def steer(self, rounds: Sequence[Mapping[str, float]], current: Mapping[str, float]) -> dict[str, float]:
        """New shares by source."""


class Steering:
    """The decisions of one run, and the draws that follow from them.

    `num_losses`: source -> the loss tokens of each of its blocks; `room`: source -> the loss tokens that it can give;
    `tokens`: the plan's, by source.
    """

    def __init__(
        self,
        mixture: Steers,
        update_steps: int,
        num_steps: int,
        num_losses: Mapping[str, np.ndarray],
        room: Mapping[str, int],
        tokens: Mapping[str, int],
    ) -> None:
        self.mixture, self.update_steps, self.num_steps = mixture, update_steps, num_steps
        self.num_losses, self.room = num_losses, room
        self.budget = sum(tokens.values())
        self.first = {source: tokens.get(source, 0) / self.budget for source in num_losses}
        self.decisions: list[dict[str, Any]] = []
        self.drawn: list[dict[str, int]] = []
        self.steps: list[np.ndarray] = []

    def decides(self, step: int) -> bool:
        """Whether a round ends with this step and another begins."""
        return step % self.update_steps == 0 and step < self.num_steps

    def decide(self, step: int, losses: Mapping[str, float]) -> dict[str, float]:
        """The shares of the steps after this one, in what is told of it; before the first step those of the plan.

        Raises:
            ValueError: there is no loss to decide by, or the mixture does not give shares.
        """
        if not losses:
            raise ValueError(
                "train: a steered mixture decides by validation losses, found none; raise split.validation_share and "
                "train.validation_items above 0"
            )
        seen = [*(decision["losses"] for decision in self.decisions), dict(losses)]
        try:
            shares = _checked(self.mixture.steer(seen, self.first), self.first) if step else self.first
        except KeyError as error:
            raise ValueError(
                f"train: the steered mixture wants the loss of {error}, validation has {sorted(losses)}; hold out "
                "validation items of that task"
            ) from error
        self._begin({"step": step, "losses": dict(losses), "shares": shares})
        told = {f"train/share_{source}": share for source, share in shares.items()}
        logger.info("after step %d: %s", step, ", ".join(f"{name} {share:.1%}" for name, share in shares.items()))
        return told

    def told(self, step: int) -> dict[str, float]:
        """What the round that ends with this step drew, as shares."""
        if step != self.num_steps and not (step and self.decides(step)):
            return {}
        drawn = self.drawn[-1]
        return {f"train/drawn_{source}": drawn.get(source, 0) / sum(drawn.values()) for source in self.first}

    def restore(self, decisions: Sequence[Mapping[str, Any]]) -> None:
        """Make the draws of decisions that were made before."""
        for decision in decisions:
            self._begin(dict(decision))

    def _begin(self, decision: dict[str, Any]) -> None:
        done = {source: sum(drawn.get(source, 0) for drawn in self.drawn) for source in self.first}
        start = decision["step"]
        end = min(self.num_steps, start + self.update_steps)
        assert len(self.steps) == start, f"a round after step {start}, but the last one ended with {len(self.steps)}"
        wanted = round(self.budget * end / self.num_steps) - sum(done.values())
        drawn = self._spread(wanted, decision["shares"], {name: self.room[name] - done[name] for name in done})
        parts = {name: cut(self.num_losses[name], done[name], done[name] + n) for name, n in drawn.items()}
        _split(parts, end - start)
        counts = {name: len(part) for name, part in parts.items()}
        whole, more = divmod(sum(counts.values()), end - start)
        groups = [whole + (place < more) for place in range(end - start)]
        numbers, waiting = {name: n for n, name in enumerate(self.first)}, {n: iter(part) for n, part in parts.items()}
        draws = np.array(
            [(numbers[name], *next(waiting[name])) for name in interleave(counts, groups)], dtype=np.int32
        ).reshape(-1, 4)
        self.steps += np.split(draws, np.cumsum(groups)[:-1])
        self.decisions.append(decision)
        self.drawn.append(drawn)

    def _spread(self, wanted: int, shares: Mapping[str, float], left: Mapping[str, int]) -> dict[str, int]:
        """Loss tokens by share; a source that has run dry leaves its part to the others."""
        weights = {source: share for source, share in shares.items() if share > 0 and left[source]}
        first = min(wanted, sum(left[source] for source in weights))
        drawn = apportion(first, weights, left) if first else {}
        dry = [source for source in weights if drawn.get(source, 0) == left[source]]
        if dry:
            logger.warning("%s: nothing is left; the others give more than was decided", ", ".join(sorted(dry)))
        others = {source: tokens - drawn.get(source, 0) for source, tokens in left.items()}
        if wanted > first:
            more = apportion(wanted - first, {source: float(n) for source, n in others.items() if n}, others)
            drawn |= {source: drawn.get(source, 0) + tokens for source, tokens in more.items()}
        return {source: tokens for source, tokens in sorted(drawn.items()) if tokens}


def _split(parts: Mapping[str, list[tuple[int, int, int]]], wanted: int) -> None:
    """Halve the largest draws until every step has one."""
    while sum(map(len, parts.values())) < wanted:
        part, place = max(
            ((part, place) for part in parts.values() for place in range(len(part))),
            key=lambda found: found[0][found[1]][2] - found[0][found[1]][1],
        )
        block, first, last = part[place]
        assert last - first > 1, f"fewer loss tokens than {wanted} steps"
        middle = (first + last) // 2
        part[place : place + 1] = [(block, first, middle), (block, middle, last)]


def _checked(shares: Mapping[str, float], sources: Mapping[str, float]) -> dict[str, float]:
    """Shares of all sources that sum to one.

    Raises:
        ValueError: they are of other sources, below 0, all 0, or no numbers.
    """
    whole = sum(shares.values())
    right = set(shares) <= set(sources) and all(share >= 0 for share in shares.values())
    if not right or not (math.isfinite(whole) and whole > 0):
        raise ValueError(
            f"train: the steered mixture wants shares {dict(shares)}; wanted numbers of at least 0, one above, for "
            f"sources among {sorted(sources)}; change plan.mixture"
        )
    return {source: shares.get(source, 0.0) / whole for source in sources}
