"""Batches that a rule of a stage holds: set aside with the reason, until a person releases or discards them."""

from collections.abc import Mapping

from pipelines.edge.home import Home
from steps.core.artifacts import Artifact, Corpus, Kept, Landed


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


def hold(home: Home, landed: Mapping[str, Landed], held: Mapping[str, str]) -> None:
    """Set the batches of held tasks aside, each once."""
    aside = home.held()
    for task, why in held.items():
        for batch in landed[task].batches:
            if (task, batch.name) not in aside:
                home.record("hold", task=task, batch=batch.name, why=why, by_rule=True)
