"""Plan: how the token budget is spread over new and replayed text."""

import json
import logging
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from steps.core.apportion import apportion
from steps.core.artifacts import Buffer, Chosen, Frozen, MixturePlan, Model, Validation
from steps.core.method import from_recipe
from steps.core.models import load_model
from steps.core.shards import digest_of, digest_of_file
from steps.core.state import replay_documents
from steps.core.training import HeldOut
from steps.core.workspace import Workspace
from steps.methods.mixture import Decision, Fit, Mixture, Shares, Supply

logger = logging.getLogger(__name__)

LOSS_ITEMS, LOSS_TOKENS = 64, 64  # of each task's validation part, when a mixture asks what the parent knows


class PlanConfig(Frozen):
    """The budget and how it is mixed."""

    budget_tokens: int = Field(gt=0, description="loss tokens of the whole refresh, new and replayed")
    mixture: Annotated[SerializeAsAny[Mixture], BeforeValidator(from_recipe("mixture"))] = Field(
        default_factory=lambda: from_recipe("mixture")({"method": "fixed"}),
        description="the method that decides how much of each source",
    )
    max_epochs: float = Field(
        4.0,
        gt=0,
        description="times that a source may be repeated; up to 4 costs little (arXiv:2305.16264, recalled)",
    )
    when_short: Literal["shrink", "refuse"] = Field(
        "shrink", description="too little text for the budget: shrink: train on less, in the same shares; refuse: stop"
    )


def plan(
    workspace: Workspace, config: PlanConfig, chosen: Chosen, buffer: Buffer, model: Model, validation: Validation
) -> MixturePlan:
    """Spread the budget over the sources; none is repeated more than `max_epochs` times.

    Raises:
        ValueError: there is nothing to train on, too little and `when_short` is `refuse`, or the mixture refuses.
    """
    supply = supply_of(workspace, config, chosen, buffer, model, validation)
    decision = config.mixture.decide(supply, workspace.seed)
    return planned(config, supply, decision)


def supply_of(
    workspace: Workspace, config: PlanConfig, chosen: Chosen, buffer: Buffer, model: Model, validation: Validation
) -> Supply:
    """What there is to mix.

    Raises:
        ValueError: there is no new text.
    """
    names = [task.name for task in chosen.tasks if task.role == "train"]
    new = {name: chosen.num_tokens[name] for name in names if chosen.num_tokens[name]}
    if not new:
        raise ValueError(
            f"plan: no document to train on is left in {', '.join(names) or 'any train task'}; read the reasons in "
            "data/clean/<task>/dropped.jsonl, or land more text"
        )

    def losses() -> dict[str, float]:
        parent = workspace.at(model.path)
        held_out = HeldOut(workspace.at(validation.path), validation, parent, LOSS_ITEMS, LOSS_TOKENS)
        found = held_out.losses(load_model(parent, device=workspace.device))
        return {name.removeprefix("train/validation_"): loss for name, loss in found.items()}

    def read(fit: Fit) -> dict[str, Any]:
        path = workspace.at(fit.path)
        if not path.is_file():
            raise ValueError(f"plan.mixture.fit: no file {fit.path}; run `perennial pilot RECIPE`")
        if (found := digest_of_file(path)) != fit.digest:
            raise ValueError(f"plan.mixture.fit: {fit.path} has digest {found}, the recipe wants {fit.digest}")
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content

    return Supply(
        new=new,
        replay={task: tokens for task, tokens in _replayable(workspace, chosen, buffer).items() if tokens},
        budget_tokens=config.budget_tokens,
        max_epochs=config.max_epochs,
        num_parameters=model.num_parameters,
        losses=losses,
        read=read,
    )


def _replayable(workspace: Workspace, chosen: Chosen, buffer: Buffer) -> dict[str, int]:
    """The tokens that can be replayed, by task; the buffer is read only where documents of it may have left."""
    landed = {task.name: chosen.num_tokens[task.name] for task in chosen.tasks if task.role == "replay-only"}
    if buffer.segments and (chosen.stale or any(landed.values())):
        pool = replay_documents(workspace, chosen, buffer)
        return {task: sum(document.num_tokens for document in found) for task, found in pool.items()}
    return {
        task: buffer.num_tokens.get(task, 0) + landed.get(task, 0) for task in sorted({*buffer.num_tokens, *landed})
    }


def planned(config: PlanConfig, supply: Supply, decision: Decision) -> MixturePlan:
    """A decision in whole tokens.

    Raises:
        ValueError: the decision names what is not there, or there is too little text and `when_short` is `refuse`.
    """
    decision.check(supply)
    room = {f"new/{task}": max(1, int(config.max_epochs * tokens)) for task, tokens in supply.new.items()}
    room |= {f"replay/{task}": max(1, int(config.max_epochs * tokens)) for task, tokens in supply.replay.items()}
    at_hand, stages = dict(room), []
    parts = {str(number): stage.part for number, stage in enumerate(decision.stages)}
    budgets = apportion(_carried(config, decision, room), parts, {}).values()
    for stage, budget in zip(decision.stages, budgets, strict=True):
        found = _stage(config, stage, budget, room)
        room = {source: tokens - found.get(source, 0) for source, tokens in room.items()}
        stages += [found] if found else []
    tokens = {source: sum(found.get(source, 0) for found in stages) for found in stages for source in found}
    if not tokens:
        raise ValueError("plan: the mixture gives no source a token; give a task with text a weight above 0")
    replayed = sum(count for source, count in tokens.items() if source.startswith("replay/"))
    share = replayed / sum(tokens.values())
    logger.info("%d tokens, %.1f %% of them replayed", sum(tokens.values()), 100 * share)
    for sentence in decision.told:
        logger.info("%s", sentence)
    facts = {
        "tokens": tokens,
        "replay_share": share,
        "stages": tuple(stages) if len(stages) > 1 else (),
        "steered": decision.steered,
        "at_hand": at_hand if decision.steered else {},
        "predicted": decision.predicted,
        "told": decision.told,
    }
    return MixturePlan(digest=digest_of(facts), **facts)


def _carried(config: PlanConfig, decision: Decision, room: Mapping[str, int]) -> int:
    """The budget that the new text carries over all stages, so that a late stage is not left without it."""
    if len(decision.stages) == 1:
        return config.budget_tokens
    names = {f"new/{task}": weight for stage in decision.stages for task, weight in stage.new_weights.items() if weight}
    new = sum(Fraction(stage.part) * (1 - _replay_share(stage)) for stage in decision.stages)
    wanted = round(config.budget_tokens * new)
    found = _affordable(config, names, wanted, room)
    return config.budget_tokens if found == wanted else int(Fraction(config.budget_tokens * found, wanted))


def _replay_share(stage: Shares) -> Fraction:
    return Fraction(stage.replay) if any(stage.replay_weights.values()) else Fraction(0)


def _stage(config: PlanConfig, stage: Shares, budget: int, room: Mapping[str, int]) -> dict[str, int]:
    """The tokens of one stage; what its new text cannot fill is not filled by replay, nor the other way round."""
    new = {f"new/{task}": weight for task, weight in stage.new_weights.items() if weight}
    replay = {f"replay/{task}": weight for task, weight in stage.replay_weights.items() if weight}
    if stage.replay and not replay:
        logger.warning(
            "nothing to replay: all %d tokens go to new text; land a replay-only task of general text", budget
        )
    share = _replay_share(stage)
    wanted_new = round(budget * (1 - share))
    new_tokens = _affordable(config, new, wanted_new, room)
    wanted_replay = budget - wanted_new
    if new_tokens < wanted_new:
        wanted_replay = round(new_tokens * share / (1 - share))
    replay_tokens = _affordable(config, replay, wanted_replay, room)
    tokens = apportion(new_tokens, new, room) | apportion(replay_tokens, replay, room)
    return {source: count for source, count in tokens.items() if count}


def _affordable(config: PlanConfig, weights: Mapping[str, float], wanted: int, room: Mapping[str, int]) -> int:
    """The tokens that a group of sources can give.

    Raises:
        ValueError: they are fewer than wanted, and `when_short` is `refuse`.
    """
    most = sum(room[source] for source in weights)
    if most >= wanted:
        return wanted
    told = f"{', '.join(weights)}: plan wants {wanted:,} tokens; repeated at most {config.max_epochs:g} times they give"
    if config.when_short == "refuse":
        raise ValueError(
            f"{told} {most:,}; lower plan.budget_tokens, raise plan.max_epochs, set plan.when_short to shrink, or land "
            "more text"
        )
    logger.warning("%s %d: trains on those", told, most)
    return most
