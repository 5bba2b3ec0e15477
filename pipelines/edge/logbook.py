"""What a refresh leaves in MLflow and in Prefect for people to read: pages on its data, plots, tables, its report."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.edge import card, clean_report, data_docs, merge_plots, pilot_plots, plots
from pipelines.edge.change_plots import weight_heat
from pipelines.edge.change_report import changes_report, contrast_rows, contrast_table
from pipelines.edge.facts import LIBRARIES, read_facts, read_json
from pipelines.edge.fingerprints import libraries
from pipelines.edge.lineage import write_used
from pipelines.edge.outcome import Outcome
from pipelines.edge.prefect_artifacts import post_report, run_page
from pipelines.edge.registry import Registry
from pipelines.edge.reports import refresh_report, refresh_rows, result
from pipelines.edge.sources import SOURCES, Sources, count_sources
from pipelines.edge.stages import REPAIR
from pipelines.edge.tracking import page, shortened
from steps.core.artifacts import Kept, Report, Trained, Verdict
from steps.core.differences import Changes
from steps.core.front import read_front
from steps.core.shards import read_lines
from steps.core.workspace import Workspace

if TYPE_CHECKING:
    from pipelines.edge.session import Session

CARD_BEGINS = "\n\n# "  # what stands above it in a version's description is told once, when it is registered


def data_pages(do: "Session", kept: Kept) -> dict[str, Path]:
    """Write the pages on the data of an attempt, held or not; each by its folder in MLflow."""
    corpora = {task: do.made[f"ingest/{task}"] for task in do.landings}
    root = do.home.root
    docs = {f"data-docs/{task}".rstrip("/"): page for task, page in data_docs.render(root, corpora, kept).items()}
    return {**docs, "clean": clean_report.write_report(root, kept, corpora)}


def log_refresh(
    do: "Session",
    outcome: Outcome,
    verdict: Verdict,
    report: Report,
    baseline: Report,
    trained: Trained,
    changes: Changes,
) -> None:
    """Everything that a person looks for in the MLflow run."""
    tracker, root, made = do.tracker, do.home.root, do.made
    tracker.metrics({"cost/device_seconds": outcome.device_seconds, "cost/tokens": outcome.tokens})
    for name, scores in (("before", baseline), ("after", report)):
        for task, score in scores.anchor.items():
            tracker.metrics({f"evaluate/{name}_loss_{task}": score.loss_nats_per_token})
            tracker.metrics({f"evaluate/{name}_bits_per_byte_{task}": score.bits_per_byte})
    history = list(read_lines(root / trained.history))
    if not do.live:  # `perennial step` told nobody while it trained
        for row in history:
            tracker.metrics({key: value for key, value in row.items() if key != "step"}, int(row["step"]))
    tracker.table("lineage/stages.json", {name: artifact.digest for name, artifact in made.items()})
    rows = (*do.current_parent.history.rows[:-1], verdict.baseline_row, verdict.row)
    tracker.figures(
        {
            "training_loss": plots.losses(history),
            "holdout_change": plots.holdout_change(verdict),
            "matrix": plots.matrix(rows),
            "mixture": plots.mixture(made["mix"].planned, trained.achieved),
        }
    )
    if trained.gap:
        tracker.figures({"stability_gap": plots.stability_gap(history, trained.gap)})
    if found := pilot_plots.predictions(made["plan"].predicted, history):
        for name in ("predicted", "actual"):
            tracker.metrics({f"plan/{name}_{task}": losses[name] for task, losses in found.items()})
        tracker.table("plan.json", found)
        tracker.figures({"predicted_and_actual": pilot_plots.predicted_and_actual(found)})
    _log_changes(do, changes)
    tracker.table("verdict.json", verdict.model_dump(mode="json"))
    _log_merges(do)
    tracker.table("outcome.json", outcome.model_dump(mode="json"))
    records = {f"records/{stage}": root / do.folder / stage / "record.json" for stage in made}
    tracker.files({"lineage": root / do.folder / "inputs.json", **records})
    tracker.table("lineage/recipe.json", do.written.dump())
    for name in ("dvc.lock", "dvc.yaml", "data/tasks.yaml"):
        tracker.files({"lineage": root / name})
    if fit := getattr(do.recipe.plan.mixture, "fit", None):
        tracker.files({"lineage": root / fit.path})
    with tempfile.TemporaryDirectory() as folder:
        tracker.files({"lineage": write_used(root / made["mix"].path, Path(folder))})
    tracker.table(SOURCES, _sources(do).model_dump(mode="json"))
    tracker.table(LIBRARIES, libraries())
    for task in do.landings:
        tracker.files({"lineage/landing": root / "data" / "landing" / f"{task}.dvc"})
    _tell(do, outcome, changes)


def _log_merges(do: "Session") -> None:
    """The fronts of sweeps; where there was a repair both judgements, whichever counted."""
    second = f"gate/{REPAIR}"
    for name in ("merge", f"merge/{REPAIR}"):
        if name in do.made and (found := read_front(do.home.root / do.folder / name / "model")):
            do.tracker.figures({f"{name.replace('/', '_')}_front": merge_plots.front(found)})
            do.tracker.table(f"{name}/front.json", found.model_dump(mode="json"))
    for name in ("gate", second) if second in do.made else ():
        do.tracker.table(f"{name}/verdict.json", do.made[name].model_dump(mode="json"))


def _sources(do: "Session") -> Sources:
    """What this version trained on, and with it its line so far."""
    parent = do.current_parent
    logged = None if parent.name == "base" else read_json(do.registry, do.registry.get(parent.name), SOURCES)
    before = Sources.model_validate(logged) if logged else None
    workspace = Workspace(root=do.home.root, path=do.home.root / do.folder, seed=do.recipe.seed)
    return count_sources(workspace, do.made["select"], parent.buffer, do.made["mix"], before, parent.name)


def log_card(registry: Registry, number: str) -> None:
    """Write a version's card beside its weights, into its run, and below the first lines of its description."""
    facts = read_facts(registry, number)
    text = card.render(facts)
    registry.write_file(number, card.NAME, text)
    registry.client.log_text(facts.run, text, card.NAME)
    described = registry.client.get_model_version(registry.name, number).description or ""
    head = f"\n\n{described}".partition(CARD_BEGINS)[0]
    description = shortened(f"{head}\n\n{card.body(facts)}".lstrip(), card.NAME)
    registry.client.update_model_version(registry.name, number, description=description)


def _log_changes(do: "Session", changes: Changes) -> None:
    """What changed in weights and words: a picture, the rows behind it, and the texts as a table."""
    matrices = do.home.root / changes.path / "matrices.jsonl"
    if changes.whole:
        do.tracker.figures({"weights": weight_heat(read_lines(matrices))})
        do.tracker.files({"compare": matrices})
    if changes.contrasts:
        do.tracker.table("compare/contrasts.json", contrast_table(changes))


def _tell(do: "Session", outcome: Outcome, changes: Changes) -> None:
    """The same words for a person in MLflow's run, in the registered version and in Prefect's flow run."""
    batches = {task: [batch.name for batch in part.batches] for task, part in do.landings.items()}
    version, run = f"models/{do.registry.name}/versions/{outcome.version}", do.tracker.run_id
    inside = {
        "the registered version": page(version) or f"#/{version}",
        "the MLflow run": do.tracker.page or f"#/experiments/{do.tracker.experiment}/runs/{run}",
        "the Prefect run": run_page() if do.prefect else None,
    }
    end = changes_report(changes)
    text = refresh_report(outcome, cause=do.cause, batches=batches, links=inside) + end
    do.tracker.describe(text, result(outcome))
    head = "\n\n".join(text.split("\n\n")[:2])  # the card comes below it
    do.registry.client.update_model_version(do.registry.name, outcome.version, description=head)
    if do.prefect:
        outside = {name: address for name, address in inside.items() if address and not address.startswith("#")}
        text = refresh_report(outcome, cause=do.cause, batches=batches, links=outside) + end
        tables = {"refresh-table": refresh_rows(outcome), "refresh-contrasts": contrast_rows(changes)}
        post_report(text, tables, f"{do.title}: {result(outcome)}", do.tracker.page)
