"""The score of pilots: short runs at several shares, the law that they follow, what it recommends."""

from pipelines.edge.orchestration import flow
from pipelines.edge.pilots import Piloted, Pilots
from steps.clean import clean
from steps.ingest import ingest
from steps.mix import mix
from steps.select import select
from steps.split import split
from steps.train import train


@flow(name="pilot")
def pilot(do: Pilots) -> Piloted:
    """Plan the mixture of a refresh by short runs on what waits for it. No version is made, no state changes."""
    recipe = do.recipe
    parent = do.parent()
    landed = do.landed(parent)
    if not landed:
        return do.nothing()
    corpus = {task: do(ingest, recipe.ingest, batches) for task, batches in landed.items()}
    holdout = do(split, recipe.split, corpus, parent.holdout)
    consumed = do.consumed(parent)
    kept = do(clean, recipe.clean, corpus, holdout, parent.index, parent.buffer, parent.model, consumed)
    if not kept.trains:
        return do.nothing()
    validation = kept.holdout.validation  # pilots never see what the gate judges by
    chosen = do(select, recipe.select, kept, parent.model, parent.buffer, validation)
    for run in do.trials(chosen, parent, validation):  # those that are not made yet
        training_set = run(mix, recipe.mix, chosen, parent.buffer, parent.model, run.shares)
        trained = run(train, run.section(training_set), parent.model, parent.training_state, training_set, validation)
        run.keep(training_set, trained)
    return do.learn()
