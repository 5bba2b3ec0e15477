"""What a person does to a line by hand: promote, roll back, hold a batch, rebuild a version, look at the state."""

import contextlib
import json
import shutil
from typing import Any

from pipelines.edge import landing
from pipelines.edge.bringing import bring_inputs
from pipelines.edge.conclude import promote, settle
from pipelines.edge.home import Home
from pipelines.edge.lineage import FORGOTTEN, base_of
from pipelines.edge.logbook import log_card
from pipelines.edge.overview import publish
from pipelines.edge.registry import Registry
from pipelines.edge.session import Inputs, Progress, Session, Stopped, pending
from pipelines.edge.stages import REPAIR
from pipelines.recipe import Recipe
from pipelines.refresh import refresh
from steps.core.artifacts import Frozen, Version


def set_aside(home: Home, verb: str, task: str, batch: str, why: str) -> str:
    """Hold, release or discard a batch, with the reason in the ledger; returns the batch's full name.

    Raises:
        ValueError: there is no such batch, or it is not held; the message names those that exist.
    """
    found = [each.name for each in landing.batches(home.root, task) if batch in {each.name, each.name.split("-")[0]}]
    if not found:
        known = ", ".join(each.name for each in landing.batches(home.root, task)) or "none"
        raise ValueError(f"{task}: no batch {batch!r}; there are: {known}")
    state = home.held().get((task, found[0]))
    if verb == "release" and state is None:
        raise ValueError(f"{task}/{found[0]}: wanted a batch that is held or discarded, found one that is not")
    home.record(verb, task=task, batch=found[0], why=why)
    return found[0]


def promote_by_hand(home: Home, number: str, why: str) -> str:
    """Make a version the champion: acceptance of an undecided one, or a return to one that was accepted before.

    Raises:
        ValueError: the version was rejected, or was never accepted and its parent is not the champion.
    """
    registry = Registry(home)
    settle(home, registry)
    version, serving = registry.get(number), registry.champion()
    if version.number == serving:
        return f"version {number} is the champion already"
    parent = version.tags.get("perennial.parent", "")
    once_accepted = version.verdict == "accepted"
    if not once_accepted and version.verdict != "undecided":
        raise ValueError(
            f"version {number} was {version.verdict}: only an undecided or once accepted one can be promoted"
        )
    if not once_accepted and parent != (serving or "base"):
        raise ValueError(
            f"version {number} is {version.verdict} and was made from {parent}, but {serving or 'base'} is the "
            "champion: its data was judged against another model; run `perennial refresh`"
        )
    registry.version(number)  # its weights and its record must be there
    promote(registry, number, serving, why)
    if not once_accepted:
        registry.tag(number, "perennial.verdict", "accepted")
        log_card(registry, number)
    publish(home, registry)
    return f"champion: {serving or 'base'} -> {number}"


def roll_back(home: Home, why: str) -> str:
    """Move `champion` to its parent, and hold the batches that only the version left behind had consumed.

    Raises:
        ValueError: there is no champion, or it stands on the base, or its parent's weights are gone.
    """
    registry = Registry(home)
    settle(home, registry)
    serving = registry.champion()
    if serving is None:
        raise ValueError("nothing to roll back: no version was accepted yet")
    left = registry.version(serving)
    parent = registry.get(serving).tags.get("perennial.parent", "base")
    if parent == "base":
        raise ValueError(
            f"version {serving} was made from the base model, which is no version; nothing to roll back to"
        )
    kept = registry.version(parent)
    promote(registry, parent, serving, why)
    publish(home, registry)
    held = []
    for task, names in left.consumed.items():
        for name in names:
            if name not in kept.consumed.get(task, ()):
                home.record("hold", task=task, batch=name, why=f"rolled back from version {serving}: {why}")
                held.append(f"{task}/{name}")
    return f"champion: {serving} -> {parent}; held: {', '.join(held) or 'no batch'}"


class Reproduction(Frozen):
    """What rebuilding a version gave."""

    version: str
    identical: bool
    registered: str
    rebuilt: str
    stages: dict[str, bool]
    note: str = ""


def reproduce(home: Home, number: str, progress: Progress | None = None) -> Reproduction:
    """Rebuild a version's weights from its lineage, in a folder of its own, and compare them bit for bit.

    Raises:
        ValueError: a part of the lineage is gone, or the version trained on documents that were forgotten since.
    """
    from mlflow.artifacts import load_text

    registry = Registry(home)
    version = registry.get(number)
    forgotten = version.tags.get(FORGOTTEN, "")
    if forgotten == "trained":
        raise ValueError(
            f"version {number} trained on documents that were forgotten since: it cannot be rebuilt exactly any more; "
            "what was forgotten, when and why is in forgotten.jsonl beside its version.json"
        )
    run = f"runs:/{version.tags['perennial.run']}"
    inputs = Inputs.model_validate(json.loads(load_text(f"{run}/lineage/inputs.json")))
    inputs = inputs.model_copy(update={"parent": _present(home, registry, inputs)})
    bring_inputs(home, registry, version, inputs)
    folder = f".perennial/reproduce/{number}"
    shutil.rmtree(home.root / folder, ignore_errors=True)
    recipe = Recipe.model_validate(inputs.recipe)
    before = json.loads(load_text(f"{run}/lineage/stages.json"))
    if before.get(f"merge/{REPAIR}") == version.tags["perennial.weights"]:
        assert recipe.repair, "what was repaired was repaired by its recipe"
        recipe = recipe.model_copy(update={"merge": recipe.repair})  # the same model, without a gate before it
        inputs = inputs.model_copy(update={"recipe": recipe.dump()})
    do = Session(
        home,
        recipe,
        prefect=False,
        track=False,
        only="merge",
        inputs=inputs,
        folder=folder,
        everything=True,
        progress=progress,
    )
    with contextlib.suppress(Stopped):  # it stops once the candidate is made
        refresh(do)
    stages = {stage: do.made[stage].digest == before[stage] for stage in ("split", "clean", "select", "plan", "mix")}
    registered, rebuilt = version.tags["perennial.weights"], do.made["merge"].digest
    shutil.rmtree(home.root / folder)
    return Reproduction(
        version=number,
        identical=rebuilt == registered,
        registered=registered,
        rebuilt=rebuilt,
        stages=stages,
        note=f"documents of its lineage were forgotten since ({forgotten})" if forgotten else "",
    )


def _present(home: Home, registry: Registry, inputs: Inputs) -> Version:
    """The parent with its model and its training state where they are on this machine now."""
    if inputs.parent.name == "base":
        found = base_of(home, str(inputs.recipe["base"]))
    else:
        found = registry.version(inputs.parent.name)
    if found.model.digest != inputs.parent.model.digest:
        raise ValueError(
            f"parent {inputs.parent.name}: wanted weights {inputs.parent.model.digest[:12]}, found "
            f"{found.model.digest[:12]}; the base behind {inputs.recipe['base']!r} has changed"
        )
    wanted, state = inputs.parent.training_state, found.training_state
    if wanted.path is not None and state.digest != wanted.digest:
        raise ValueError(
            f"parent {inputs.parent.name}: wanted the training state {wanted.digest[:12]}, found {state.digest[:12]}; "
            "restore the version from a backup"
        )
    return inputs.parent.model_copy(update={"model": found.model, "training_state": state})


def status(home: Home) -> dict[str, Any]:
    """The state of a line: champion, versions, what each task has landed, consumed and put aside."""
    registry = Registry(home)
    settle(home, registry)
    number = registry.champion()
    consumed = registry.version(number).consumed if number else {}
    aside = home.held()
    tasks = {}
    for name, facts in landing.load_tasks(home.root).items():
        batches = [batch.name for batch in landing.batches(home.root, name)]
        waiting = [b for b in batches if b not in consumed.get(name, ()) and (name, b) not in aside]
        tasks[name] = {
            "role": facts.role,
            "landed": len(batches),
            "consumed": len([b for b in batches if b in consumed.get(name, ())]),
            "pending": waiting,
            "aside": {b: aside[name, b] for b in batches if (name, b) in aside},
        }
    return {
        "workspace": home.settings.name,
        "champion": number,
        "versions": [
            {
                "version": v.number,
                "verdict": v.verdict,
                "aliases": list(v.aliases),
                "parent": v.tags.get("perennial.parent"),
            }
            for v in registry.versions()
        ],
        "tasks": tasks,
        "consumed": {task: list(names) for task, names in consumed.items()},
    }


def preview(home: Home, recipe: Recipe) -> dict[str, Any]:
    """What a refresh would consume, and about what it would cost."""
    do = Session(home, recipe, prefect=False, track=False)
    parent = do.current()
    found = pending(home, parent)
    read = 0
    batches: dict[str, list[str]] = {}
    for task, part in found.items():
        batches[task] = [batch.name for batch in part.batches]
        read += sum(f.stat().st_size for b in part.batches for f in (home.root / b.path).rglob("*") if f.is_file())
    size = parent.model.num_parameters
    full = recipe.train.params.method_name() == "full"
    tokens = recipe.plan.budget_tokens
    judged = (recipe.split.gate_items * recipe.evaluate.item_tokens) * max(1, len(do.tasks))
    speed = _flops_per_second(do.device)
    work = size * (6.0 if full else 4.5) * tokens + 2.0 * size * judged * 2
    return {
        "parent": parent.name,
        "starts": any(part.task.role == "train" for part in found.values()),
        "batches": batches,
        "bytes_read": read,
        "device": do.device,
        "train_tokens": tokens,
        "judged_tokens": judged * 2,
        "minutes": round((work / speed + 60.0) / 60.0, 1),
        "memory_gigabytes": round((size * (16 if full else 6) + 1.5e9) / 1e9, 1),
        "disk_gigabytes": round(size * 4 * 1.05 / 1e9, 2),
    }


def _flops_per_second(device: str) -> float:
    """Half a second of matrix products: what this machine does now."""
    import time

    import torch

    side = 4096 if device == "cuda" else 768
    x_NN = torch.rand(side, side, device=device)
    count, start = 0, time.monotonic()
    while time.monotonic() - start < 0.5:
        float((x_NN @ x_NN)[0, 0])
        count += 1
    return 2.0 * side**3 * count / (time.monotonic() - start) * 0.5  # training reaches about half of it
