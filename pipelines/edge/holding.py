"""Batches that a rule of a stage holds: set aside with the reason, until a person releases or discards them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.edge.home import Home
from steps.core.artifacts import Artifact, Batch, Corpus, Kept, Landed, TaskFacts
from steps.core.contracts import CONTRACTS
from steps.core.shards import digest_of, digest_of_file


def held_tasks(made: Mapping[str, Artifact]) -> dict[str, str]:
    """The tasks that stages of an attempt held, each with the reason."""
    held = {one.task.name: one.held for one in made.values() if isinstance(one, Corpus) and one.held}
    for one in made.values():
        if isinstance(one, Kept):
            held |= one.held
    return held


def remarks(made: Mapping[str, Artifact]) -> list[str]:
    """What a person should know beside the verdict: which batches are held, and that the index was made anew."""
    remade = any(isinstance(one, Kept) and one.rebuilt for one in made.values())
    told = [f"{task} is held: {why}" for task, why in held_tasks(made).items()]
    return told + ["the index was made anew: the recipe changed how duplicates are found"] * remade


def digest_of_landed(root: Path, task: TaskFacts, batches: Sequence[Batch]) -> str:
    """The identity of a task's batches: their content, what is to be made of them, and which a person let pass."""
    suites = [root / CONTRACTS / f"{name}.json" for name in (task.contract, task.clean_contract) if name]
    contracts = [digest_of_file(suite) for suite in suites if suite.exists()]
    released = [batch.name for batch in batches if batch.released]
    return digest_of([task.model_dump(mode="json"), [batch.digest for batch in batches], contracts, released])


def released(home: Home) -> set[tuple[str, str]]:
    """The batches (task, name) that a rule of clean held last, and a person let pass."""
    judged: set[tuple[str, str]] = set()
    found: set[tuple[str, str]] = set()
    for event in home.ledger():
        if event["event"] == "hold":
            batch = (event["task"], event["batch"])
            found.discard(batch)
            (judged.add if event.get("held_in") == "clean" else judged.discard)(batch)
        elif event["event"] == "release" and (batch := (event["task"], event["batch"])) in judged:
            found.add(batch)
    return found


def hold(home: Home, landed: Mapping[str, Landed], held: Mapping[str, str]) -> None:
    """Set the batches of held tasks aside, each once."""
    aside = home.held()
    for task, why in held.items():
        for batch in landed[task].batches:
            if (task, batch.name) not in aside:
                home.record("hold", task=task, batch=batch.name, why=why, by_rule=True, held_in="clean")
