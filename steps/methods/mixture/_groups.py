"""Sources in groups: what a regression gives shares to."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from steps.methods.mixture import Supply
from steps.methods.mixture._sources import held

EARLIER = "earlier"  # the group of the sources of an earlier fit


@dataclass(frozen=True)
class Groups:
    """Sources that are mixed in fixed ratios: `ratios[group][source]`, sum 1. `natural`: source -> natural share."""

    ratios: Mapping[str, Mapping[str, float]]
    natural: Mapping[str, float]

    @classmethod
    def of(cls, supply: Supply, earlier: Mapping[str, float], replay: float | None) -> "Groups":
        """Each source on its own, but those of an earlier fit as one group.

        Raises:
            ValueError: there is an earlier fit, and no source of it or none beside it is at hand.
        """
        natural = _natural(supply, replay)
        old = {source: earlier[source] for source in natural if source in earlier}
        if not earlier:
            return cls({source: {source: 1.0} for source in natural}, natural)
        if len(old) == len(natural) or not sum(old.values()):
            raise ValueError(
                f"plan.mixture.reuse: wanted sources of that fit and new ones beside them, found {list(natural)}, of "
                f"which it knows {list(old)}; name it as `fit`, or leave reuse out"
            )
        alone = {source: {source: 1.0} for source in natural if source not in earlier}
        return cls({EARLIER: _scaled(old), **alone}, natural)

    @classmethod
    def at_hand(cls, ratios: Mapping[str, Mapping[str, float]], supply: Supply, replay: float | None) -> "Groups":
        """The groups of a fit, without the sources that are gone.

        Raises:
            ValueError: the fit does not know a source.
        """
        natural = _natural(supply, replay)
        if unknown := sorted(set(natural) - {source for group in ratios.values() for source in group}):
            raise ValueError(
                f"plan.mixture.fit: it does not know {', '.join(unknown)}; name it as plan.mixture.reuse, take fit out "
                "and run `perennial pilot RECIPE`"
            )
        left = {name: {s: part for s, part in group.items() if s in natural} for name, group in ratios.items()}
        return cls({name: _scaled(group) for name, group in left.items() if sum(group.values())}, natural)

    @property
    def names(self) -> tuple[str, ...]:
        """The groups, in order."""
        return tuple(self.ratios)

    def gathered(self, shares: Mapping[str, float]) -> np.ndarray:
        """Shares by source as shares of the groups [G]."""
        return np.array([sum(shares.get(source, 0.0) for source in group) for group in self.ratios.values()])

    def spread(self, share_G: np.ndarray) -> dict[str, float]:
        """Shares of the groups as shares by source."""
        groups = zip(share_G.tolist(), self.ratios.values(), strict=True)
        return {source: share * part for share, group in groups for source, part in group.items()}

    def caps(self, supply: Supply, tokens: int) -> np.ndarray:
        """The largest share of so many tokens that each group can give [G]; they sum to 1 where the text is short."""
        most = {source: supply.max_epochs * own / tokens for source, own in held(supply).items()}
        limits = [min(most[source] / part for source, part in g.items() if part) for g in self.ratios.values()]
        high_G = np.minimum(1.0, limits)
        return np.asarray(high_G / min(1.0, high_G.sum()))

    def floors(self, floors: Mapping[str, float]) -> np.ndarray:
        """The least share of each group, so that each of its sources has its floor [G].

        Raises:
            ValueError: a floor is of no source, or of one that has no share in its group.
        """
        parts = {source: part for group in self.ratios.values() for source, part in group.items()}
        if wrong := sorted(source for source, floor in floors.items() if floor > 0 and not parts.get(source)):
            raise ValueError(f"plan.mixture.floors: no share to raise of {', '.join(wrong)}; there are {sorted(parts)}")
        least = [max(floors.get(s, 0.0) / (part or 1) for s, part in group.items()) for group in self.ratios.values()]
        return np.array(least)


def _natural(supply: Supply, replay: float | None) -> dict[str, float]:
    shares = _scaled(held(supply))
    if replay is None or not supply.replay:
        return shares
    new = _scaled({source: share for source, share in shares.items() if source.startswith("new/")})
    old = _scaled({source: share for source, share in shares.items() if source.startswith("replay/")})
    return {s: (1 - replay) * share for s, share in new.items()} | {s: replay * share for s, share in old.items()}


def _scaled(weights: Mapping[str, float]) -> dict[str, float]:
    whole = sum(weights.values())
    return {source: weight / whole if whole else 0.0 for source, weight in weights.items()}
