"""The score of noise: the last candidate trained again with other seeds, to see what the seed alone changes."""

from pipelines.edge.orchestration import flow
from pipelines.edge.seeds import Noised, Seeds
from steps.clean import clean
from steps.evaluate import evaluate
from steps.ingest import ingest
from steps.merge import merge
from steps.mix import mix
from steps.plan import plan
from steps.select import select
from steps.split import split
from steps.train import train


@flow(name="noise")
def noise(do: Seeds) -> Noised:
    """Train a candidate again from its recorded inputs, once for each seed. No version is made, no state changes."""
    recipe = do.recipe
    parent = do.parent()
    landed = do.landed(parent)
    corpus = {task: do(ingest, recipe.ingest, batches) for task, batches in landed.items()}
    holdout = do(split, recipe.split, corpus, parent.holdout)
    consumed = do.consumed(parent)
    kept = do(clean, recipe.clean, corpus, holdout, parent.index, parent.buffer, parent.model, consumed)
    holdout = kept.holdout
    chosen = do(select, recipe.select, kept, parent.model, parent.buffer, holdout.validation)
    shares = do(plan, recipe.plan, chosen, parent.buffer, parent.model, holdout.validation)
    baseline = do(evaluate, recipe.evaluate, parent.model, holdout.gate)
    for run in do.runs():  # the seed of the candidate itself is the first
        training_set = run(mix, recipe.mix, chosen, parent.buffer, parent.model, shares)
        trained = run(train, recipe.train, parent.model, parent.training_state, training_set, holdout.validation)
        candidate = run(merge, recipe.merge, parent.model, trained, holdout.validation)
        do.keep(run, do(evaluate, recipe.evaluate, candidate, holdout.gate))
    return do.tell(baseline)
