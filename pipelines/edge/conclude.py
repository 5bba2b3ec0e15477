"""The end of a refresh: register the candidate, judge whether it may serve, and write down why.

The move of `champion` is the one moment in which a refresh becomes state. Whatever is written before it is found
again after a crash; whatever comes after it is made good by `settle` at the next start.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.edge import versioning
from pipelines.edge.holding import held_tasks, hold, remarks
from pipelines.edge.home import Home
from pipelines.edge.lineage import adopt, identity_of
from pipelines.edge.logbook import log_card, log_refresh
from pipelines.edge.orchestration import present_run
from pipelines.edge.outcome import Kind, Outcome, TaskRow
from pipelines.edge.overview import publish
from pipelines.edge.registry import WEIGHTS, Registry, stage_folder
from pipelines.edge.tracking import end_run
from steps.core.artifacts import (
    Buffer,
    Corpus,
    History,
    HoldoutState,
    Index,
    Model,
    Report,
    Trained,
    TrainingState,
    Verdict,
    Version,
)
from steps.core.differences import Changes
from steps.core.documents import Item, read_items
from steps.core.shards import digest_of, read_lines
from steps.core.training_state import EMPTY

if TYPE_CHECKING:
    from pipelines.edge.session import Session

logger = logging.getLogger(__name__)
SERVED = Path(__file__).parent / "served_model.py"
CHECKED_ITEMS = 8
TOLERANCE_NATS = 1e-4  # per token, in float32: the same weights read back, on the same device
KINDS: dict[str, Kind] = {"pass": "accepted", "fail": "rejected", "undecided": "undecided"}


def conclude(
    do: "Session",
    verdict: Verdict,
    candidate: Model,
    trained: Trained,
    report: Report,
    baseline: Report,
    changes: Changes,
    buffer: Buffer,
    index: Index,
    holdout: HoldoutState,
) -> Outcome:
    """Register the candidate, promote it if the gate passed it and nobody moved `champion`, and log everything.

    Raises:
        RuntimeError: the registered version, loaded back, does not score what was evaluated.
    """
    registry: Registry = do.registry
    parent, kind, reasons = do.current_parent, KINDS[verdict.outcome], verdict.reasons
    if kind != "rejected":
        buffer, index, holdout = adopt(do.home, buffer), adopt(do.home, index), adopt(do.home, holdout)
    state = EMPTY if kind == "rejected" else trained.state
    version = _version(do, parent, candidate, state, verdict, buffer, index, holdout)
    hashes = versioning.add_landings(do.home.root, list(do.tasks)) if do.folder == "data" else {}
    number = _register(do, registry, version, verdict, hashes)
    _check_loads_back(do, registry.folder(number) / WEIGHTS, report)

    serving = registry.champion()
    if kind == "accepted" and serving not in {None if parent.name == "base" else parent.name, number}:
        kind = "undecided"
        reasons = (f"champion moved during the run: from {parent.name} to {serving}; nothing was promoted", *reasons)
    if kind == "accepted" and (do.settings.approval or do.recipe.gate.approval) and serving != number:
        kind, reasons = "undecided", (f"awaiting approval: `perennial promote {number}` accepts it", *reasons)
    hold(do.home, do.landings, held_tasks(do.made))
    reasons = (*reasons, *remarks(do.made))
    outcome = _outcome(do, kind, reasons, number, verdict, report, baseline)
    versioning.commit_stages(do.home.root)
    log_refresh(do, outcome, verdict, report, baseline, trained, changes)

    registry.tag(number, "perennial.verdict", kind)
    log_card(registry, number)
    registry.move("candidate", number, f"attempt {do.attempt[:8]}")
    if kind == "accepted" and serving != number:
        promote(registry, number, serving, f"accepted by the gate, attempt {do.attempt[:8]}")
    flow_run = present_run() if do.prefect else None
    write_verdict(do.home, do.attempt, kind, number, parent.name, reasons, outcome, flow_run)
    publish(do.home, registry)
    do.tracker.end("FINISHED", {"perennial.verdict": kind, "perennial.version": number})
    clean_up(do.home, registry)
    return outcome


def promote(registry: Registry, number: str, before: str | None, why: str) -> None:
    """Make a version the champion; the one that served becomes `previous`."""
    registry.move("champion", number, why)
    registry.move("previous", before, why)


def write_verdict(
    home: Home,
    attempt: str,
    kind: str,
    number: str,
    parent: str,
    reasons: Sequence[str],
    outcome: Outcome | None,
    flow_run: Any = None,
) -> None:
    """The ledger's line on an attempt."""
    where = {"flow_run": str(flow_run)} if flow_run else {}
    home.record(
        "verdict",
        attempt=attempt,
        verdict=kind,
        version=number,
        parent=parent,
        reasons=list(reasons),
        outcome=outcome.model_dump(mode="json") if outcome else None,
        **where,
    )


def settle(home: Home, registry: Registry) -> None:
    """Write down a promotion that a crash cut off from its lines in the ledger, and do what was left of it."""
    number = registry.champion()
    if number is None:
        return
    version = registry.get(number)
    attempt = version.tags.get("perennial.attempt", "")
    if attempt and home.judged(attempt) is None:
        parent = version.tags.get("perennial.parent", "")
        run, before, why = (
            version.tags["perennial.run"],
            None if parent == "base" else parent,
            "promoted before a crash",
        )
        moves = [
            event["after"] for event in home.ledger() if event["event"] == "alias" and event["alias"] == "champion"
        ]
        if moves[-1:] != [number]:  # serving is told of the move by this line
            home.record("alias", alias="champion", before=before, after=number, why=why)
        registry.move("previous", before, why)
        write_verdict(home, attempt, "accepted", number, parent, [why], _logged_outcome(registry, run))
        end_run(registry.client, run, "FINISHED")
        publish(home, registry)


def _logged_outcome(registry: Registry, run: str) -> Outcome | None:
    """What a refresh had logged before it was promoted."""
    from mlflow.artifacts import load_text
    from mlflow.exceptions import MlflowException

    try:
        return Outcome.model_validate_json(load_text(f"{registry.client.get_run(run).info.artifact_uri}/outcome.json"))
    except (MlflowException, OSError):
        return None


def clean_up(home: Home, registry: Registry) -> int:
    """Apply the workspace's retention to versions and to the scores of models; returns the bytes freed."""
    keep, everything = home.settings.retention, registry.versions()
    champion = registry.champion()
    pinned = {model.digest for model in registry.version(champion).references} if champion else set()
    accepted = [v for v in everything if v.verdict == "accepted"]
    others = [v for v in everything if v.verdict != "accepted"]
    freed = 0
    for version in accepted[keep.accepted :] + others[keep.rejected :]:
        safe = version.aliases and set(version.aliases) & {"champion", "previous"}
        if safe or version.tags.get("perennial.retired") or version.tags.get("perennial.weights") in pinned:
            continue
        freed += registry.retire(version.number)
    return freed + (_drop_scores(home, registry, pinned) if champion else 0)


def _drop_scores(home: Home, registry: Registry, pinned: Set[str]) -> int:
    """Remove the scores of models that no refresh will be compared with: they would pile up."""
    there = [version.tags for version in registry.versions() if not version.tags.get("perennial.retired")]
    kept = {digest[:16] for digest in (*pinned, *(tags.get("perennial.weights", "") for tags in there))}
    freed = 0
    for folder in (home.root / "data" / "evaluate").glob("*"):
        if folder.is_dir() and folder.name not in kept:
            freed += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            shutil.rmtree(folder)
    return freed


def _version(
    do: "Session",
    parent: Version,
    candidate: Model,
    state: TrainingState,
    verdict: Verdict,
    buffer: Buffer,
    index: Index,
    holdout: HoldoutState,
) -> Version:
    rows = (*parent.history.rows[:-1], verdict.baseline_row, verdict.row)
    references = parent.references if len(parent.references) > 1 else (*parent.references, candidate)
    consumed = dict(parent.consumed)
    aside = held_tasks(do.made)
    for task, part in do.landings.items():
        if task in aside:
            continue
        consumed[task] = (*consumed.get(task, ()), *(batch.name for batch in part.batches))
    parts = (candidate, buffer, index, holdout)
    return Version(
        digest=identity_of(parent.digest, [part.digest for part in parts], consumed, state),
        name=do.attempt[:8],
        model=candidate,
        training_state=state,
        buffer=buffer,
        index=index,
        holdout=holdout,
        history=History(digest=digest_of([row.model_dump() for row in rows]), rows=rows),
        references=references,
        consumed=consumed,
    )


def _register(do: "Session", registry: Registry, version: Version, verdict: Verdict, hashes: dict[str, str]) -> str:
    found = registry.find(do.attempt)
    if found:
        return found.number
    staging = do.home.hidden / "staging" / do.attempt
    adapter = do.home.root / version.model.adapter if version.model.adapter else None  # a merged model has none
    staging.parent.mkdir(parents=True, exist_ok=True)
    state = do.home.root / version.training_state.path if version.training_state.path else None
    stage_folder(staging, do.home.root / version.model.path, adapter, state, version, SERVED)
    tags = {
        "perennial.recipe": do.recipe.name,
        "perennial.base": do.written.base,
        "perennial.recipe_fingerprint": do.written.fingerprint(),
        "perennial.source": source_revision(Path(__file__).parent),
        "perennial.parent": do.current_parent.name,
        "perennial.weights": version.model.digest,
        "perennial.seed": str(do.recipe.seed),
        "perennial.gate": verdict.outcome,
        "perennial.verdict": "pending",
        "perennial.run": do.tracker.run_id,
        **{f"perennial.dvc.{task}": value for task, value in hashes.items()},
    }
    return registry.register(do.attempt, do.tracker.run_id, staging, tags)


def _check_loads_back(do: "Session", folder: Path, report: Report) -> None:
    """Score a few items with the registered weights: they must score what was evaluated."""
    from steps.core.likelihood import encode_items, first_context
    from steps.core.models import load_model, load_tokenizer
    from steps.core.prefixes import ROUGH_NATS, losses_by_part

    config, gate = do.recipe.evaluate, do.made["clean"].holdout.gate
    evaluated = {row["id"]: row for row in read_lines(do.home.root / report.path / "items.jsonl")}
    per_task = max(1, CHECKED_ITEMS // max(1, len(gate.anchor)))
    items = [
        item
        for task in sorted(gate.anchor)
        for item in _asked(read_items(do.home.root / gate.path / task / "anchor.jsonl"), evaluated)[:per_task]
    ]
    network, tokenizer = load_model(folder, config.precision, do.device), load_tokenizer(folder)
    few = items[:: max(1, len(items) // CHECKED_ITEMS)]  # however many tasks there are
    texts = encode_items(tokenizer, few, config.item_tokens, config.labelled)
    tolerance = ROUGH_NATS if config.precision == "bfloat16" else TOLERANCE_NATS  # other neighbours round otherwise
    for part, losses in losses_by_part(network, texts, first_context(tokenizer), config.batch_items):
        for text, nats in zip(part, losses, strict=True):
            wanted = evaluated[text.name]
            if wanted["tokens"] != text.num_losses or abs(nats - wanted["nats"]) / text.num_losses > tolerance:
                raise RuntimeError(
                    f"the registered version, loaded back from {folder}, scores item {text.name} at {nats:.4f} nats, "
                    f"evaluated at {wanted['nats']:.4f}; nothing was promoted"
                )


def _asked(items: Sequence[Item], evaluated: Mapping[str, Any]) -> list[Item]:
    """Those that a sample did not leave out."""
    return [item for item in items if item.id in evaluated]


def _outcome(
    do: "Session",
    kind: Kind,
    reasons: Sequence[str],
    number: str,
    verdict: Verdict,
    report: Report,
    baseline: Report,
) -> Outcome:
    import time

    return Outcome(
        kind=kind,
        attempt=do.attempt,
        parent=do.current_parent.name,
        version=number,
        reasons=tuple(reasons),
        rows=tuple(task_rows(do, verdict, report, baseline)),
        comparisons=verdict.comparisons,
        samples={task: (baseline.samples.get(task, ""), text) for task, text in report.samples.items()},
        run_id=do.tracker.run_id,
        seconds=round(time.monotonic() - do.started, 1),
        device_seconds=round(do.device_seconds, 1),
        tokens=sum(do.made["train"].achieved.values()),
        trained=verdict.row.trained,
        told=do.made["plan"].told,
        gap=do.made["train"].gap,
        transfer=verdict.transfer,
        verdicts=max(1, sum(isinstance(made, Verdict) for made in do.made.values())),
        uses=verdict.uses,
    )


def task_rows(do: "Session", verdict: Verdict, report: Report, baseline: Report) -> list[TaskRow]:
    """The table's lines, tasks in the order of `tasks.yaml`."""
    kept, planned, aside = do.made["clean"], do.made["mix"].planned, held_tasks(do.made)
    achieved = do.made["train"].achieved
    champions = [c for c in verdict.comparisons if c.against == "champion" and c.kind == "non-inferiority"]
    changes = {c.task: c for c in champions if c.scope == "task" and c.part == "anchor"}
    rows = []
    for task, facts in do.tasks.items():
        corpus: Corpus | None = do.made.get(f"ingest/{task}")
        before, after, change = baseline.anchor.get(task), report.anchor.get(task), changes.get(task)
        sources = [source for source in {**planned, **achieved} if source.split("/", 1)[1] == task]
        rows.append(
            TaskRow(
                task=task,
                role=facts.role,
                before=before.loss_nats_per_token if before else None,
                after=after.loss_nats_per_token if after else None,
                change=change.change if change else None,
                low=change.low if change else None,
                high=change.high if change else None,
                num_items=after.num_items if after else 0,
                planned_tokens=sum(planned.get(source, 0) for source in sources),
                achieved_tokens=sum(achieved.get(source, 0) for source in sources),
                planned_replay=planned.get(f"replay/{task}", 0),
                achieved_replay=achieved.get(f"replay/{task}", 0),
                landed=corpus.num_landed if corpus else 0,
                kept=kept.kept.get(task, 0),
                held_out=kept.holdout.held_out.get(task, 0),
                dropped=kept.dropped.get(task, {}),
                quarantined=corpus.quarantined if corpus else {},
                superseded=kept.superseded.get(task, 0),
                held=aside.get(task, ""),
            )
        )
    return rows


def source_revision(folder: Path) -> str:
    """The Git revision of our own source, `-dirty` if it was changed, or else the version of the package."""
    import subprocess
    from importlib.metadata import version

    git = shutil.which("git")
    if git:
        words = [git, "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
        found = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
        if found.returncode == 0:
            return found.stdout.strip()
    return version("perennial")


def read_outcome(event: dict[str, Any]) -> Outcome:
    """The outcome that a ledger's line holds."""
    if event.get("outcome"):
        return Outcome.model_validate_json(json.dumps(event["outcome"]))
    return Outcome(
        kind=event["verdict"], attempt=event["attempt"], version=event["version"], reasons=tuple(event["reasons"])
    )
