"""How two versions differ: in recipe, data, metrics, weights, code and libraries."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from pipelines.edge.facts import Facts, read_facts, read_version
from pipelines.edge.lineage import base_of
from pipelines.edge.registry import Registry
from pipelines.edge.tracking import flatten
from steps.core.artifacts import Frozen, Version
from steps.core.differences import LayerChange
from steps.core.weight_changes import Told, by_layer, in_all, weight_changes

BASE = "base"
Pair = tuple[Any, Any]  # of the first version, of the second; none: it has none


class TaskData(Frozen):
    """One task: which batches only one of the two knows, and what the refresh that made each took of it."""

    task: str
    only_first: tuple[str, ...] = Field(description="batches")
    only_second: tuple[str, ...] = Field(description="batches")
    documents: Pair = Field(description="in the training set, new and replayed")
    tokens: Pair = Field(description="loss tokens trained on, new and replayed")


class TaskLoss(Frozen):
    """One task's loss on its anchor hold-out, nats/token."""

    task: str
    first: float | None
    second: float | None
    change: float | None


class Weights(Frozen):
    """What changed in the weights from the first to the second."""

    same: bool
    all_layers: LayerChange | None = None
    layers: tuple[LayerChange, ...] = ()
    why_not: str = Field("", description="why they could not be compared")


class Difference(Frozen):
    """Everything in which two versions differ."""

    first: str
    second: str
    recipe: dict[str, Pair] | None = Field(description="changed keys only; none: not recorded of both")
    data: tuple[TaskData, ...]
    metrics: tuple[TaskLoss, ...]
    weights: Weights
    code: Pair = Field(description="Git revisions")
    stages: tuple[str, ...] | None = Field(description="whose code or libraries differ; none: not recorded of both")
    libraries: dict[str, Pair] | None = Field(description="changed ones; none: not recorded of both")


class Side(Frozen):
    """One of the two. The base has neither facts nor batches."""

    name: str
    facts: Facts | None = None
    losses: dict[str, float] = Field(default_factory=dict)
    consumed: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    weights: str = ""


def difference(registry: Registry, first: str, second: str, told: Told | None = None) -> Difference:
    """How the second version differs from the first. `base` names the model that the line began with.

    Raises:
        ValueError: there is no such version, or both are the base.
    """
    numbers = [name if name == BASE else registry.named(name) for name in (first, second)]
    stored = {number: read_version(registry, number) for number in numbers if number != BASE}
    if not stored:
        raise ValueError("diff: wanted a version beside `base`, found `base` twice; name a version's number")
    some = next(iter(stored.values()))
    sides = [_side(registry, number, stored.get(number), some) for number in numbers]
    return compare(sides[0], sides[1], _weights(registry, sides[0], sides[1], some, told))


def compare(first: Side, second: Side, weights: Weights) -> Difference:
    """The difference of two sides."""
    one, two = first.facts, second.facts
    codes = [each.code_digests if each else {} for each in (one, two)]
    installed = [each.libraries if each else None for each in (one, two)]
    stages = sorted(stage for stage in codes[0] if codes[0][stage] != codes[1].get(stage, codes[0][stage]))
    return Difference(
        first=first.name,
        second=second.name,
        recipe=changed(one.recipe, two.recipe) if one and two and one.recipe and two.recipe else None,
        data=tuple(_data(first, second)),
        metrics=tuple(_metrics(first, second)),
        weights=weights,
        code=(one.code if one else None, two.code if two else None),
        stages=tuple(stages) if all(codes) else None,
        libraries=changed(installed[0], installed[1]) if installed[0] and installed[1] else None,
    )


def changed(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Pair]:
    """The dotted keys of two nested mappings that do not say the same."""
    one, two = flatten(first), flatten(second)
    keys = list(dict.fromkeys([*one, *two]))
    return {key: (one.get(key), two.get(key)) for key in keys if one.get(key) != two.get(key)}


def _side(registry: Registry, number: str, stored: Version | None, other: Version | None) -> Side:
    known = stored or other
    history = known.history.rows if known else ()
    if number == BASE:
        base = other.references[0].digest if other and other.references else ""
        return Side(name=BASE, losses=next((row.losses for row in history if row.version == BASE), {}), weights=base)
    facts = read_facts(registry, number)
    losses = {row.task: row.after for row in facts.outcome.rows if row.after is not None} if facts.outcome else {}
    own = dict(history[-1].losses) if history else {}
    return Side(
        name=number,
        facts=facts,
        losses=own | losses,
        consumed=stored.consumed if stored else {},
        weights=facts.weights,
    )


def _data(first: Side, second: Side) -> list[TaskData]:
    tokens, documents = [_tokens(side) for side in (first, second)], [_documents(side) for side in (first, second)]
    tasks = dict.fromkeys([*first.consumed, *second.consumed, *tokens[0], *tokens[1], *documents[0], *documents[1]])
    found = []
    for task in tasks:
        one, two = first.consumed.get(task, ()), second.consumed.get(task, ())
        found.append(
            TaskData(
                task=task,
                only_first=tuple(name for name in one if name not in two),
                only_second=tuple(name for name in two if name not in one),
                documents=(documents[0].get(task), documents[1].get(task)),
                tokens=(tokens[0].get(task), tokens[1].get(task)),
            )
        )
    return found


def _tokens(side: Side) -> dict[str, int]:
    rows = side.facts.outcome.rows if side.facts and side.facts.outcome else ()
    return {row.task: row.achieved_tokens for row in rows}


def _documents(side: Side) -> dict[str, int]:
    sources = side.facts.sources if side.facts else None
    if sources is None:
        return {}
    tasks = sorted({*sources.new, *sources.replayed})
    counts = (sources.new, sources.replayed)
    return {task: sum(sum(count.get(task, {}).values()) for count in counts) for task in tasks}


def _metrics(first: Side, second: Side) -> list[TaskLoss]:
    found = []
    for task in dict.fromkeys([*first.losses, *second.losses]):
        one, two = first.losses.get(task), second.losses.get(task)
        change = two - one if one is not None and two is not None else None
        found.append(TaskLoss(task=task, first=one, second=two, change=change))
    return found


def _weights(registry: Registry, first: Side, second: Side, some: Version | None, told: Told | None) -> Weights:
    if first.weights and first.weights == second.weights:
        return Weights(same=True)
    try:
        folders = [_folder(registry, side, some) for side in (first, second)]
        moved = weight_changes(*folders, decompose_teraflops=0.0, told=told)
    except ValueError as error:  # weights that are gone, or of other shapes: the rest can still be told
        return Weights(same=False, why_not=str(error))
    return Weights(same=False, all_layers=in_all(moved), layers=by_layer(moved))


def _folder(registry: Registry, side: Side, some: Version | None) -> Path:
    if side.facts is not None:
        return registry.home.root / registry.version(side.name).model.path
    known = registry.home.root / some.references[0].path if some and some.references else None
    if known is not None and (known / "config.json").is_file():
        return known
    address = next((v.tags["perennial.base"] for v in registry.versions() if v.tags.get("perennial.base")), None)
    if address is None:
        raise ValueError("which base the line began with was not recorded")
    found = base_of(registry.home, address).model
    if found.digest != side.weights:
        raise ValueError(
            f"base {address}: wanted weights {side.weights[:12]}, found {found.digest[:12]}: it has changed"
        )
    return registry.home.root / found.path
