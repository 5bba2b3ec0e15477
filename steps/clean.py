"""Clean: which documents are fit to train on, each drop with its reason."""

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BeforeValidator, Field, SerializeAsAny

from steps.core.artifacts import Buffer, Corpus, Holdout, Index, Kept, Landed, Model
from steps.core.columns import Columns
from steps.core.conservation import conservation
from steps.core.documents import Item, read_items
from steps.core.holdouts import PARTS, held_folders, rows_of, without_tasks
from steps.core.index import IndexRow, OpenIndex, write_index
from steps.core.memory import give_back
from steps.core.method import from_recipe
from steps.core.records import FREE, SUPERSEDED
from steps.core.shards import digest_of, write_json
from steps.core.state import describe_segment, digest_of_folder, digest_of_segments
from steps.core.workspace import Workspace
from steps.curation.batch_rules import BatchRules, Checked, check, last_figures, next_figures, write_figures
from steps.curation.chain import Chain
from steps.curation.cleaned import contract_of, result_of
from steps.curation.finish import Fit, write_all
from steps.curation.learn import learn
from steps.curation.look import known_rows, look_all, stale_keys
from steps.curation.rebuild import rebuilt
from steps.curation.statistics import Figures, figures_of, statistics_of
from steps.curation.sweep import Rules, Swept, judge_all, save_grams
from steps.methods.decontaminate import Decontaminate
from steps.methods.dedup import Dedup

logger = logging.getLogger(__name__)


class CleanConfig(Chain):
    """The rules, in the order in which they apply: repair, quality, privacy, decontaminate, dedup."""

    decontaminate: Annotated[SerializeAsAny[Decontaminate], BeforeValidator(from_recipe("decontaminate"))] = Field(
        default_factory=lambda: from_recipe("decontaminate")({"method": "coverage"}),
        description="how documents that contain a hold-out item are found; it cannot be switched off",
    )
    dedup: Annotated[SerializeAsAny[Dedup], BeforeValidator(from_recipe("dedup"))] = Field(
        default_factory=lambda: from_recipe("dedup")({"method": "minhash"}),
        description="how near-duplicates are found, here and among all that accepted refreshes kept",
    )
    max_contaminated: float = Field(
        0.1, ge=0, le=1, description="share of a task's documents that may contain hold-out items; more: it is held"
    )
    batch: BatchRules = Field(
        BatchRules(), description="how far a task may differ from the last accepted refresh; further: it is held"
    )


def clean(
    workspace: Workspace,
    config: CleanConfig,
    corpus: Mapping[str, Corpus],
    holdout: Holdout,
    index: Index,
    buffer: Buffer,
    model: Model,
    consumed: Mapping[str, Landed],
) -> Kept:
    """Keep the documents that are newest, not held out, not known, fit, and not said twice.

    Per task: `<task>/documents.jsonl` (kept), `<task>/dropped.jsonl` (key, reason, of, content_hash, batch, ...) and
    `<task>/{passages,statistics}.json` (what each rule left, and of what); `index/` is what this attempt adds to the
    index, `learned/<task>/` what rules learned, and `holdout/`, where a task is held, the hold-outs without it;
    `held/<task>/` says what would have become of it. `batch.json` and `contract.json` hold what expectations found.

    An index made with other settings of `dedup` is made anew from the `consumed` batches: `index-rebuilt/`.

    Raises:
        ValueError: an artifact lies outside the workspace, or a rule has too little text to learn from.
    """
    give_back()  # what the stages before freed
    settings, remade = digest_of(config.dedup.model_dump(mode="json")), False
    here = config.located(workspace.root, workspace.device)
    if OpenIndex([workspace.at(segment.path) for segment in index.segments]).settings() - {settings}:
        index, remade = rebuilt(workspace, here, config.dedup, settings, index, consumed), True
    corpus = {task: own for task, own in corpus.items() if not own.held}
    folders = [workspace.at(segment.path) for segment in index.segments]
    held_texts = [folder for part in PARTS for folder in held_folders(workspace, holdout.state, part)]
    files = {task: workspace.at(own.path) / "documents.jsonl" for task, own in corpus.items()}
    looks = {task: look_all(workspace, file, folders, held_texts) for task, file in files.items()}
    states = {task: rows_of(workspace, holdout, task) for task in corpus}
    stale = stale_keys(corpus, looks, states, OpenIndex(folders))
    known = known_rows(looks, states, stale)
    for own_look in looks.values():
        own_look.contents = np.empty((0, 2), dtype=np.uint64)  # nobody asks again
    give_back()
    items = (item for place in (holdout.gate, holdout.validation) for item in _items(workspace.at(place.path)))
    grams = save_grams(workspace.path / "parts", config.decontaminate.grams_of(items))
    swept: dict[str, Swept] = {}
    held, before, figures, checked = {}, last_figures(folders), dict[str, Figures](), dict[str, Checked]()
    for task, own in corpus.items():
        learned = learn(workspace, config, corpus, task, buffer, model)
        contract = contract_of(workspace.root, own.task)
        rules = Rules(here, config.decontaminate, config.dedup, learned, grams, folders, frozenset(stale), contract)
        free = states[task] == FREE
        swept[task] = judge_all(workspace, rules, files[task], looks[task], free, known[task])
        figures[task] = figures_of(looks[task], states[task], known[task], swept[task])
        checked[task] = check(config.batch, task, figures[task], before.get(task))
        if not own.released and (why := _why_held(config, own, swept[task], figures[task], checked[task])):
            held[task] = why

    def put(folder: Path, tasks: Iterable[str]) -> dict[str, Fit]:
        fits = write_all(folder, {task: swept[task] for task in tasks}, workspace.path / "parts")
        for task, fit in fits.items():
            facts = statistics_of(looks[task], states[task], known[task], swept[task], fit.places)
            write_json(folder / task / "statistics.json", facts)
            if checked[task].result:
                write_json(folder / task / "batch.json", checked[task].result)
            if contract := contract_of(workspace.root, corpus[task].task):
                found = result_of(contract, [part.contract for part in swept[task].parts])
                write_json(folder / task / "contract.json", found)
        return fits

    if held:  # as if they had not landed: their hold-outs and their withdrawals do not count either
        for task in put(workspace.path / "held", held):
            (workspace.path / "held" / task / "documents.jsonl").unlink()
        rest = without_tasks(workspace, workspace.path / "holdout" / str(len(corpus)), holdout, held)
        others = {task: own for task, own in corpus.items() if task not in held}
        kept = clean(workspace, config, others, rest, index, buffer, model, consumed)
        return kept.model_copy(update={"held": {**held, **kept.held}, "rebuilt": remade})
    fits = put(workspace.path, swept)
    write_figures(workspace.path / "index", next_figures(config.batch, before, figures))
    superseded = {task: int((states[task] == SUPERSEDED).sum()) for task in corpus}
    result = _describe(workspace, settings, corpus, holdout, index, stale, superseded, fits)
    shutil.rmtree(workspace.path / "parts", ignore_errors=True)
    for task in corpus:
        conservation(corpus, holdout, result, task)
    return result.model_copy(update={"rebuilt": remade})


def _why_held(config: CleanConfig, own: Corpus, swept: Swept, figures: Figures, checked: Checked) -> str:
    """What a person should see before the task's batches go further; empty: nothing."""
    why, contaminated = [checked.why] if checked.why else [], len(swept.contaminated)
    if contaminated > config.max_contaminated * figures.judged and own.task.role == "train":
        why.append(f"{contaminated:,} of {figures.judged:,} documents contain hold-out items")
    return "; ".join(why)


def _items(folder: Path) -> Iterator[Item]:
    """Every hold-out item of every task."""
    for file in sorted(folder.glob("*/*.jsonl")):
        yield from read_items(file)


def _describe(
    workspace: Workspace,
    settings: str,
    corpus: Mapping[str, Corpus],
    holdout: Holdout,
    index: Index,
    stale: Mapping[str, str],
    superseded: dict[str, int],
    fits: Mapping[str, Fit],
) -> Kept:
    """The artifact over what was written, and the new segment of the index."""
    leaving = [IndexRow(key, task) for key, task in stale.items()]
    buckets = Columns([own.bands for own in fits.values() if own.num_kept])
    buckets = Columns([np.zeros((len(leaving), buckets.num_columns), dtype=np.uint64), buckets])
    rows = chain(leaving, chain.from_iterable(own.rows() for own in fits.values()))
    write_index(workspace.path / "index", rows, buckets, settings)
    segments = (*index.segments, describe_segment(workspace, workspace.path / "index"))
    kept = {task: own.num_kept for task, own in fits.items()}
    dropped = {task: dict(sorted(own.drops.items())) for task, own in fits.items()}
    for task, count in kept.items():
        logger.info("%s: kept %d documents; dropped: %s", task, count, dropped[task] or "none")
    digests = {task: digest_of_folder(workspace.path / task) for task in fits}
    return Kept(
        digest=digest_of([digests, superseded, list(stale), holdout.digest, [segment.digest for segment in segments]]),
        path=workspace.relative(workspace.path),
        tasks=tuple(corpus[task].task for task in fits),
        kept=kept,
        dropped=dropped,
        superseded=superseded,
        stale=tuple(stale),
        index=Index(segments=segments, digest=digest_of_segments(segments)),
        holdout=holdout,
    )
