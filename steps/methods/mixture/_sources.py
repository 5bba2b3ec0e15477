"""Shares by source, `new/<task>` or `replay/<task>`, and the fit that a recipe names."""

from collections.abc import Mapping
from typing import Any

from steps.methods.mixture import Fit, Shares, Supply


def task_of(source: str) -> str:
    """The task whose text a source is."""
    return source.partition("/")[2]


def held(supply: Supply) -> dict[str, int]:
    """The tokens that every source holds."""
    new = {f"new/{task}": tokens for task, tokens in supply.new.items()}
    return new | {f"replay/{task}": tokens for task, tokens in supply.replay.items()}


def as_shares(by_source: Mapping[str, float]) -> Shares:
    """How a stage spells shares by source that sum to 1."""
    new = {task_of(source): share for source, share in by_source.items() if source.startswith("new/")}
    replayed = {task_of(source): share for source, share in by_source.items() if source.startswith("replay/")}
    return Shares(replay=min(1.0, sum(replayed.values())), new_weights=new, replay_weights=replayed)


def by_source(shares: Shares) -> dict[str, float]:
    """The share of each source; they sum to 1."""
    groups = {"new": (1 - shares.replay, shares.new_weights), "replay": (shares.replay, shares.replay_weights)}
    whole = {kind: sum(weights.values()) for kind, (_, weights) in groups.items()}
    empty = sum(share for kind, (share, _) in groups.items() if not whole[kind])
    return {
        f"{kind}/{task}": share / (1 - empty) * weight / whole[kind]
        for kind, (share, weights) in groups.items()
        for task, weight in weights.items()
        if whole[kind]
    }


def fitted(method: str, fit: Fit | None, supply: Supply) -> dict[str, Any]:
    """The law of a fit.

    Raises:
        ValueError: the recipe names none, or that of another method.
    """
    if fit is None:
        raise ValueError(
            f"plan.mixture: {method} needs a fit; run `perennial pilot RECIPE` and put fit: {{path, digest}} into the "
            "recipe"
        )
    content = supply.read(fit)
    if content.get("method") != method:
        raise ValueError(
            f"plan.mixture.fit: {fit.path} holds a fit of {content.get('method')}, the recipe's mixture is {method}; "
            "run `perennial pilot RECIPE` with this recipe"
        )
    law: dict[str, Any] = content["law"]
    return law
