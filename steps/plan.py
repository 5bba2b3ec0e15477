"""Plan: how the token budget is spread over new and replayed text."""

import logging
from collections.abc import Mapping
from fractions import Fraction
from typing import Literal

from pydantic import Field

from steps.core.artifacts import Buffer, Chosen, Frozen, MixturePlan
from steps.core.shards import digest_of
from steps.core.state import replay_documents
from steps.core.workspace import Workspace

logger = logging.getLogger(__name__)


class PlanConfig(Frozen):
    """The budget and its shares."""

    budget_tokens: int = Field(gt=0, description="loss tokens of the whole refresh, new and replayed")
    replay_share: float = Field(
        0.30,
        ge=0,
        lt=1,
        description="share of the loss tokens that is replayed; arXiv:2403.08763 finds 0.05 enough for a weak shift "
        "and 0.25 for a strong one where the base's own training text is replayed; it is not at hand, so we err above",
    )
    new: Literal["proportional", "equal"] = Field(
        "proportional", description="how train tasks share the new tokens: by the tokens that they hold, or equally"
    )
    max_epochs: float = Field(
        4.0,
        gt=0,
        description="times that a source may be repeated; up to 4 costs little (arXiv:2305.16264, recalled)",
    )
    when_short: Literal["shrink", "refuse"] = Field(
        "shrink", description="too little text for the budget: shrink: train on less, in the same shares; refuse: stop"
    )


def plan(workspace: Workspace, config: PlanConfig, chosen: Chosen, buffer: Buffer) -> MixturePlan:
    """Spread the budget over the sources; none is repeated more than `max_epochs` times.

    Raises:
        ValueError: there is nothing to train on, or too little and `when_short` is `refuse`.
    """
    names = [task.name for task in chosen.tasks if task.role == "train"]
    new = {f"new/{name}": chosen.num_tokens[name] for name in names if chosen.num_tokens[name]}
    if not new:
        raise ValueError(
            f"plan: no document to train on is left in {', '.join(names) or 'any train task'}; read the reasons in "
            "data/clean/<task>/dropped.jsonl, or land more text"
        )
    pool = replay_documents(workspace, chosen, buffer)
    replay = {f"replay/{task}": sum(document.num_tokens for document in found) for task, found in pool.items()}
    replay = {source: tokens for source, tokens in replay.items() if tokens} if config.replay_share else {}
    if config.replay_share and not replay:
        logger.warning(
            "nothing to replay: all %d tokens go to new text; land a replay-only task of general text",
            config.budget_tokens,
        )
    share = Fraction(str(config.replay_share)) if replay else Fraction(0)
    wanted_new = round(config.budget_tokens * (1 - share))
    new_tokens = _affordable(config, new, wanted_new)
    wanted_replay = config.budget_tokens - wanted_new
    if new_tokens < wanted_new:
        wanted_replay = round(new_tokens * share / (1 - share))
    replay_tokens = _affordable(config, replay, wanted_replay)
    weights = new if config.new == "proportional" else dict.fromkeys(new, 1)
    tokens = _fill(new_tokens, weights, _capacities(config, new))
    tokens |= _fill(replay_tokens, replay, _capacities(config, replay))
    tokens = {source: count for source, count in tokens.items() if count}
    planned_share = replay_tokens / (new_tokens + replay_tokens)
    logger.info("%d new and %d replayed tokens (%.1f %% replay)", new_tokens, replay_tokens, 100 * planned_share)
    return MixturePlan(
        digest=digest_of({"tokens": tokens, "replay_share": planned_share}), tokens=tokens, replay_share=planned_share
    )


def _capacities(config: PlanConfig, available: Mapping[str, int]) -> dict[str, int]:
    """Tokens that each source can give at most."""
    return {source: max(1, int(config.max_epochs * tokens)) for source, tokens in available.items()}


def _affordable(config: PlanConfig, available: Mapping[str, int], wanted: int) -> int:
    """The tokens that a group of sources can give.

    Raises:
        ValueError: they are fewer than wanted, and `when_short` is `refuse`.
    """
    room = sum(_capacities(config, available).values())
    if room >= wanted:
        return wanted
    told = f"{', '.join(available)}: plan wants {wanted:,} tokens, {sum(available.values()):,} are there"
    if config.when_short == "refuse":
        raise ValueError(
            f"{told}, repeated at most {config.max_epochs:g} times: {room:,}; lower plan.budget_tokens, raise "
            "plan.max_epochs, set plan.when_short to shrink, or land more text"
        )
    logger.warning("%s, repeated at most %g times: trains on %d", told, config.max_epochs, room)
    return room


def _fill(total: int, weights: Mapping[str, int], capacities: Mapping[str, int]) -> dict[str, int]:
    """Spread a total by weight; what a source cannot hold flows to the others; whole tokens, the sum exact."""
    full: dict[str, int] = {}
    while True:
        rest = total - sum(full.values())
        open_weights = {source: weight for source, weight in weights.items() if source not in full}
        whole = sum(open_weights.values())
        shares = {source: Fraction(rest * weight, whole) for source, weight in open_weights.items()}
        over = {source: capacities[source] for source, share in shares.items() if share > capacities[source]}
        if not over:
            break
        full |= over
    found = full | {source: int(share) for source, share in shares.items()}
    missing = total - sum(found.values())
    room = sorted(shares, key=lambda source: (int(shares[source]) - shares[source], source))
    for source in [source for source in room if found[source] < capacities[source]][:missing]:
        found[source] += 1
    assert sum(found.values()) == total, f"{found} do not add up to {total:,}"
    return {source: found[source] for source in weights}
