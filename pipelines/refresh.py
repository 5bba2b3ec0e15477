"""The score: one refresh of the model, from landed data to a registered version."""

from pipelines.edge.orchestration import flow
from pipelines.edge.outcome import Outcome
from pipelines.edge.session import Session
from pipelines.repair import repair
from steps.clean import clean
from steps.compare import compare
from steps.evaluate import evaluate
from steps.gate import gate
from steps.ingest import ingest
from steps.merge import merge
from steps.mix import mix
from steps.plan import plan
from steps.replay import replay
from steps.select import select
from steps.split import split
from steps.train import train


@flow(name="refresh")
def refresh(do: Session) -> Outcome:
    """One refresh of the model, from landed data to a registered version."""
    recipe = do.recipe
    parent = do.parent()  # the champion and all that belongs to it; the first time the base model, the rest empty
    landed = do.landed(parent)  # {task: batches that no accepted refresh has consumed}
    if not landed:
        return do.unchanged(parent)
    corpus = {task: do(ingest, recipe.ingest, batches) for task, batches in landed.items()}
    holdout = do(split, recipe.split, corpus, parent.holdout)  # two disjoint parts: validation, gate
    consumed = do.consumed(parent)
    kept = do(clean, recipe.clean, corpus, holdout, parent.index, parent.buffer, parent.model, consumed)
    if not kept.trains:
        return do.unchanged(parent)  # the batches of every task to train on are held
    holdout = kept.holdout
    chosen = do(select, recipe.select, kept, parent.model, parent.buffer, holdout.validation)
    shares = do(plan, recipe.plan, chosen, parent.buffer, parent.model, holdout.validation)
    training_set = do(mix, recipe.mix, chosen, parent.buffer, parent.model, shares)
    trained = do(train, recipe.train, parent.model, parent.training_state, training_set, holdout.validation)
    candidate = do(merge, recipe.merge, parent.model, trained, holdout.validation)
    baseline = do(evaluate, recipe.evaluate, parent.model, holdout.gate)
    report = do(evaluate, recipe.evaluate, candidate, holdout.gate)
    references = [do(evaluate, recipe.evaluate, model, holdout.gate) for model in parent.references]
    verdict = do(gate, recipe.gate, report, baseline, references, parent.history, holdout.gate)
    candidate, report, verdict = repair(do, parent, trained, holdout, baseline, references, candidate, report, verdict)
    changes = do(compare, recipe.compare, parent.model, candidate, parent.references, holdout.validation)
    buffer = do(replay, recipe.replay, chosen, parent.buffer, parent.model, candidate, holdout.validation)
    return do.conclude(verdict, candidate, trained, report, baseline, changes, buffer, kept.index, holdout.state)
